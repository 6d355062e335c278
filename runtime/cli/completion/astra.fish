# Completion of astra's commands: astra completion fish | source
function __astra_complete
  set -l words (commandline -opc)
  set -l current (commandline -ct)
  set -l program (string replace -r '^~/' "$HOME/" -- $words[1])
  for line in ($program __complete -- $words[2..-1] "$current" 2>/dev/null)
    switch $line
      case ':file'
        __fish_complete_path "$current"
      case ':directory'
        __fish_complete_directories "$current"
      case '*'
        echo $line
    end
  end
end
complete -c astra -f -a '(__astra_complete)'
