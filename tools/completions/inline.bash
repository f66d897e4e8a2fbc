# bash completion for inline
_inline() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    local command=${COMP_WORDS[1]-} sub=${COMP_WORDS[2]-}
    local settings="--model --isa --threads --context --max-tokens --listen --socket --idle-exit \
        --log-level --config --help"
    local words=$settings
    local models
    models=$(inline model list 2>/dev/null | awk '/ ([kMGT]?B|remote)  /{print $1}')
    case $prev in
    --isa) words="exact ref avx2 avxvnni avx512 amx neon i8mm" ;;
    --color) words="auto always never" ;;
    --log-level) words="error warn info debug" ;;
    --model) words=$models ;;
    --project)
        mapfile -t COMPREPLY < <(compgen -d -- "$cur")
        return
        ;;
    --config | --file | --socket)
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        return
        ;;
    *)
        if [ "$COMP_CWORD" -eq 1 ]; then
            words="complete serve lsp model cache status top explain doctor config bench tokenize logits --version --help"
        elif [ "$command" = model ] && [ "$COMP_CWORD" -eq 2 ]; then
            words="recommend list pull import info check plan pack load unload rm"
        elif [ "$command" = cache ] && [ "$COMP_CWORD" -eq 2 ]; then
            words="stats clear verify"
        else
            case "$command $sub" in
            complete\ *) words="$settings --line --column --json --stream --show --color --name \
                --max-prompt-tokens --temperature --top-k --top-p --min-p --repeat-penalty --seed --infill --no-daemon --max-prompt-ms --max-predict-ms" ;;
            serve\ *) words="$settings --if-free" ;;
            lsp\ *) words="$settings --stdio" ;;
            model\ list) words="$settings --available --json" ;;
            model\ pull) words="$settings --name --force --json $(inline model list --available 2>/dev/null | awk '{print $1}')" ;;
            model\ import) words="$settings --name --force --json" ;;
            model\ info | model\ check) words="$settings --json $models" ;;
            model\ pack) words="$settings --remove --json $models" ;;
            model\ recommend) words="$settings --memory --json" ;;
            model\ load | model\ unload) words="$settings --json $models" ;;
            model\ rm) words="--yes $models" ;;
            cache\ clear) words="$settings --project --file --all --json" ;;
            cache\ *) words="$settings --json" ;;
            status\ *) words="$settings --metrics --json" ;;
            doctor\ *) words="$settings --json" ;;
            top\ *) words="$settings --interval --once" ;;
            explain\ *) words="last $settings --list --json" ;;
            config\ *) words="$settings --json --markdown" ;;
            bench\ trace) words="$settings --json --line --column --type --keys --rate --check --edits --move --refresh \
                --order --no-speculation --kv --packed --max-prompt-tokens --lines-before --lines-after" ;;
            bench\ context) words="$settings --json --lines $models" ;;
            bench\ cache) words="$settings --json --entries --writers --rate --seconds" ;;
            bench\ targets) words="$settings --json --quick --large $models" ;;
            bench\ *) words="model trace context cache targets $settings --runs --only --packed --kv --neighbour --text --json $models" ;;
            tokenize\ *) words="$settings --text --special --bos --ids --json" ;;
            logits\ *) words="$settings --prompt --file --tokens --top --greedy --json $models" ;;
            esac
        fi
        ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
    case "$command $sub" in
    complete\ * | tokenize\ * | model\ import | model\ info | model\ check | model\ pack)
        [[ $cur == -* ]] || mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$cur")
        ;;
    esac
}
complete -o filenames -F _inline inline
