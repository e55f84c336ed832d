# completion of options for bash: . <(dispynode.py --print completion)
_dispynode() {
    local IFS=$' \t\n' word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} flags='@FLAGS@'
    COMPREPLY=()
    if [[ $word == = ]]; then               # --option=value is three words here
        word=
    elif [[ $before == = && COMP_CWORD -gt 1 ]]; then
        before=${COMP_WORDS[COMP_CWORD-2]}
    fi
    if [[ $before == --* ]]; then before=${before:2}; before=--${before//-/_}; fi
    if [[ ${word#--} == *-* ]]; then flags=${flags//_/-}; fi
    case $before in
        @PATH_FLAGS@)
            compopt -o filenames 2>/dev/null
            IFS=$'\n'
            COMPREPLY=($(compgen -f -- "$word")); return ;;
        --ctl) COMPREPLY=($(compgen -W 'status list stop start cpus release drain quit exit why' -- "$word")); return ;;
        --print) COMPREPLY=($(compgen -W '@PRINT_NAMES@' -- "$word")); return ;;
        --log_format) COMPREPLY=($(compgen -W 'text json' -- "$word")); return ;;
        @VALUE_FLAGS@) return ;;
    esac
    COMPREPLY=($(compgen -W "$flags" -- "$word"))
}
complete -F _dispynode dispynode dispynode.py
