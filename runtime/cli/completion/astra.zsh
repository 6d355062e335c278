#compdef astra
# Completion of astra's commands: source <(astra completion zsh), or a file _astra in a directory of $fpath
_astra() {
  local line word help
  local -a whole whole_help open open_help
  for line in "${(@f)$("${words[1]/#\~\//$HOME/}" __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
    word="${line%%$'\t'*}"
    help="$word"
    [[ $line == *$'\t'* ]] && help="$word  -- ${line#*$'\t'}"
    case $word in
      '') ;;
      :file) _files ;;
      :directory) _files -/ ;;
      *[/=@]) open+=("$word"); open_help+=("$help") ;;
      *) whole+=("$word"); whole_help+=("$help") ;;
    esac
  done
  (( ${#whole} )) && compadd -l -d whole_help -a whole
  (( ${#open} )) && compadd -S '' -l -d open_help -a open
  return 0
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
  _astra "$@"
else
  compdef _astra astra
fi
