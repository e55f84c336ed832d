# completion of options for bash: . <(dispynode.py --print completion)
_dispynode() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}
    COMPREPLY=()
    case $before in
        @PATH_FLAGS@) COMPREPLY=($(compgen -f -- "$word")); return ;;
        --ctl) COMPREPLY=($(compgen -W 'status list stop start cpus release drain quit exit why' -- "$word")); return ;;
        --print) COMPREPLY=($(compgen -W '@PRINT_NAMES@' -- "$word")); return ;;
        --log_format) COMPREPLY=($(compgen -W 'text json' -- "$word")); return ;;
        @VALUE_FLAGS@) return ;;
    esac
    COMPREPLY=($(compgen -W '@FLAGS@' -- "$word"))
}
complete -F _dispynode dispynode dispynode.py
