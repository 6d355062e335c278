# Completion of astra's commands: source <(astra completion bash)
# bash takes ":", "=" and "@" for the ends of words, astra does not: the words are put together again, and of a
# candidate only what bash takes for the current word is handed back.
_astra() {
  local program="${1/#\~\//$HOME/}" i word joins= words=()
  for ((i = 1; i <= COMP_CWORD; i++)); do
    word="${COMP_WORDS[i]}"
    if [[ ${#words[@]} -gt 0 && -n $word && ($word != *[^:=@]* || -n $joins) ]]; then
      words[${#words[@]}-1]+="$word"
    else
      words+=("$word")
    fi
    joins=
    [[ -n $word && $word != *[^:=@]* ]] && joins=1
  done
  local current="${words[${#words[@]}-1]}" before= rest line file
  [[ $current == *[:=@]* ]] && before="${current%"${current##*[:=@]}"}"
  rest="${current#"$before"}"
  COMPREPLY=()
  while IFS= read -r line; do
    line="${line%%$'\t'*}"
    case $line in
      :file | :directory)
        compopt -o filenames 2>/dev/null
        while IFS= read -r file; do
          COMPREPLY+=("$file")
        done < <(if [[ $line == :file ]]; then compgen -f -- "$rest"; else compgen -d -- "$rest"; fi)
        ;;
      *)
        # Not a whole word yet.
        [[ $line == *[/=@] ]] && compopt -o nospace 2>/dev/null
        COMPREPLY+=("${line#"$before"}")
        ;;
    esac
  done < <("${program:-astra}" __complete -- "${words[@]}" 2>/dev/null)
}
complete -F _astra astra
