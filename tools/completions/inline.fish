# fish completion for inline
complete -c inline -f
complete -c inline -n __fish_use_subcommand -a complete -d 'Complete code at a place in a file'
complete -c inline -n __fish_use_subcommand -a serve -d 'Answer editors and other clients'
complete -c inline -n __fish_use_subcommand -a lsp -d 'The language server that editors start'
complete -c inline -n __fish_use_subcommand -a model -d 'Install, inspect and remove models'
complete -c inline -n __fish_use_subcommand -a cache -d 'Look at the cached completions'
complete -c inline -n __fish_use_subcommand -a status -d 'What the running daemon does and holds'
complete -c inline -n __fish_use_subcommand -a top -d 'Watch the running daemon, live'
complete -c inline -n __fish_use_subcommand -a explain -d 'Tell the story of a request'
complete -c inline -n __fish_use_subcommand -a doctor -d 'Look for what keeps Inline from working well'
complete -c inline -n __fish_use_subcommand -a config -d 'Show every setting'
complete -c inline -n __fish_use_subcommand -a bench -d 'Measure speed'
complete -c inline -n __fish_use_subcommand -a tokenize -d 'Show tokens'
complete -c inline -n __fish_use_subcommand -a logits -d 'Show predictions'
complete -c inline -n __fish_use_subcommand -l version
complete -c inline -l help
complete -c inline -l model -x -a "(inline model list 2>/dev/null | awk '/ ([kMGT]?B|remote)  /{print \$1}')"
complete -c inline -l isa -x -a 'exact ref avx2 avxvnni avx512 amx neon i8mm'
complete -c inline -l threads -x
complete -c inline -l context -x
complete -c inline -l max-tokens -x
complete -c inline -l listen -x
complete -c inline -l socket -r
complete -c inline -l idle-exit -x
complete -c inline -l log-level -x -a 'error warn info debug'
complete -c inline -l config -r
complete -c inline -n '__fish_seen_subcommand_from complete' -F -l line -x
complete -c inline -n '__fish_seen_subcommand_from complete' -l column -x
complete -c inline -n '__fish_seen_subcommand_from complete' -l json
complete -c inline -n '__fish_seen_subcommand_from complete' -l stream
complete -c inline -n '__fish_seen_subcommand_from complete' -l show
complete -c inline -n '__fish_seen_subcommand_from complete' -l color -x -a 'auto always never'
complete -c inline -n '__fish_seen_subcommand_from complete' -l infill
complete -c inline -n '__fish_seen_subcommand_from complete' -l no-daemon
complete -c inline -n '__fish_seen_subcommand_from complete' -l max-prompt-ms -x
complete -c inline -n '__fish_seen_subcommand_from complete' -l max-predict-ms -x
for number in name max-prompt-tokens temperature top-k top-p min-p repeat-penalty seed
    complete -c inline -n '__fish_seen_subcommand_from complete' -l $number -x
end
complete -c inline -n '__fish_seen_subcommand_from serve' -l if-free
complete -c inline -n '__fish_seen_subcommand_from model' -a 'recommend list pull import info check plan pack load unload rm' -F
complete -c inline -n '__fish_seen_subcommand_from pull' -a "(inline model list --available 2>/dev/null | awk '{print \$1}')"
complete -c inline -n '__fish_seen_subcommand_from info check pack load unload rm' -a "(inline model list 2>/dev/null | awk '/ ([kMGT]?B|remote)  /{print \$1}')"
complete -c inline -n '__fish_seen_subcommand_from pack' -l remove
complete -c inline -n '__fish_seen_subcommand_from recommend' -l memory -x
complete -c inline -n '__fish_seen_subcommand_from recommend status explain doctor' -l json
complete -c inline -n '__fish_seen_subcommand_from status' -l metrics
complete -c inline -n '__fish_seen_subcommand_from explain' -a last
complete -c inline -n '__fish_seen_subcommand_from explain' -l list
complete -c inline -n '__fish_seen_subcommand_from top' -l interval -x
complete -c inline -n '__fish_seen_subcommand_from top' -l once
complete -c inline -n '__fish_seen_subcommand_from cache; and not __fish_seen_subcommand_from bench' -a 'stats clear verify'
complete -c inline -n '__fish_seen_subcommand_from cache' -l json
complete -c inline -n '__fish_seen_subcommand_from clear' -l project -x -a '(__fish_complete_directories)'
complete -c inline -n '__fish_seen_subcommand_from clear' -l file -r
complete -c inline -n '__fish_seen_subcommand_from clear' -l all
complete -c inline -n '__fish_seen_subcommand_from config' -l markdown
complete -c inline -n '__fish_seen_subcommand_from bench' -a 'model trace context cache targets' -F
for flag in json neighbour check refresh no-speculation quick
    complete -c inline -n '__fish_seen_subcommand_from bench' -l $flag
end
for option in runs only line column type keys rate edits max-prompt-tokens lines-before lines-after lines entries writers seconds
    complete -c inline -n '__fish_seen_subcommand_from bench' -l $option -x
end
complete -c inline -n '__fish_seen_subcommand_from bench' -l text -r
complete -c inline -n '__fish_seen_subcommand_from targets' -l large -x
complete -c inline -n '__fish_seen_subcommand_from bench' -l packed -x -a 'auto on off both'
complete -c inline -n '__fish_seen_subcommand_from bench' -l kv -x -a 'f16 q8_0'
complete -c inline -n '__fish_seen_subcommand_from bench' -l move -x -a 'on off'
complete -c inline -n '__fish_seen_subcommand_from bench' -l order -x -a 'psm spm model'
complete -c inline -n '__fish_seen_subcommand_from tokenize' -F -l text -x
complete -c inline -n '__fish_seen_subcommand_from logits' -l prompt -x
complete -c inline -n '__fish_seen_subcommand_from logits' -l file -r
