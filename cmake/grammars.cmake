# The grammars of syntax trees: one static library of all that `tools/setup` put into INLINE_GRAMMARS.
#
# Each may be missing, tree-sitter too: then the build says so, and context/ goes by indentation and brackets
# where it has no grammar. grammars_link(TARGET) gives a target tree-sitter, the grammars, and one definition
# INLINE_GRAMMAR_<NAME> for each that is there, INLINE_HAVE_GRAMMARS if any is.
if(DEFINED ENV{INLINE_GRAMMARS})
    set(grammars_default $ENV{INLINE_GRAMMARS})
elseif(DEFINED ENV{XDG_CACHE_HOME})
    set(grammars_default $ENV{XDG_CACHE_HOME}/inline-grammars)
else()
    set(grammars_default $ENV{HOME}/.cache/inline-grammars)
endif()
set(INLINE_GRAMMARS ${grammars_default} CACHE PATH "Where npm installed the grammars of tools/grammars")

# NAME=FOLDER of the generated parser.
set(GRAMMARS
    C=tree-sitter-c
    CPP=tree-sitter-cpp
    PYTHON=tree-sitter-python
    JAVASCRIPT=tree-sitter-javascript
    TYPESCRIPT=tree-sitter-typescript/typescript
    TSX=tree-sitter-typescript/tsx
    GO=tree-sitter-go
    RUST=tree-sitter-rust
    JAVA=tree-sitter-java
    LUA=@tree-sitter-grammars/tree-sitter-lua
    BASH=tree-sitter-bash
    JSON=tree-sitter-json)

pkg_check_modules(TREE_SITTER QUIET IMPORTED_TARGET tree-sitter)
set(grammar_definitions "")
set(grammar_sources "")
set(grammars_missing "")
foreach(entry ${GRAMMARS})
    string(REPLACE "=" ";" pair ${entry})
    list(GET pair 0 name)
    list(GET pair 1 folder)
    set(source ${INLINE_GRAMMARS}/node_modules/${folder}/src)
    if(TREE_SITTER_FOUND AND EXISTS ${source}/parser.c)
        file(GLOB sources ${source}/parser.c ${source}/scanner.c)
        list(APPEND grammar_sources ${sources})
        # Each parser comes with a tree_sitter/parser.h of its own.
        set_source_files_properties(${sources} PROPERTIES INCLUDE_DIRECTORIES ${source})
        list(APPEND grammar_definitions INLINE_GRAMMAR_${name})
    else()
        string(TOLOWER ${name} name)
        list(APPEND grammars_missing ${name})
    endif()
endforeach()

if(grammar_sources)
    add_library(inline_grammars STATIC ${grammar_sources})
    # Generated tables: warnings are not ours to mend, -O2 takes twice as long for the same speed, and instrumented
    # they take minutes.
    target_compile_options(inline_grammars PRIVATE -w -O1 -g0)
    target_compile_definitions(inline_grammars PRIVATE TREE_SITTER_HIDE_SYMBOLS)
    if(INLINE_SANITIZE OR INLINE_FUZZ)
        target_compile_options(inline_grammars PRIVATE -fno-sanitize=all)
    endif()
    list(APPEND grammar_definitions INLINE_HAVE_GRAMMARS)
endif()
if(NOT TREE_SITTER_FOUND)
    message(STATUS "tree-sitter is missing: builds without grammars: context by indentation and brackets")
elseif(NOT grammar_sources)
    message(STATUS "No grammars in ${INLINE_GRAMMARS}: builds without grammars: context by indentation and brackets")
elseif(grammars_missing)
    string(REPLACE ";" ", " grammars_missing "${grammars_missing}")
    message(STATUS "Not in ${INLINE_GRAMMARS}: the grammars of ${grammars_missing}")
endif()

function(grammars_link target)
    if(TARGET inline_grammars)
        target_compile_definitions(${target} PRIVATE ${grammar_definitions})
        target_link_libraries(${target} PUBLIC inline_grammars PkgConfig::TREE_SITTER)
    endif()
endfunction()
