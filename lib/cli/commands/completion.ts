import { readdirSync } from 'node:fs'
import { Argument, type Command, type Option } from 'commander'
import { type Ipvs, printable } from '../../index.ts'
import { type Candidate, serviceCandidates, wordCandidates } from '../candidates.ts'
import type { CommandDefinition } from '../command.ts'
import { withEarlyOptions } from '../early-options.ts'
import { STATUS } from '../exit-status.ts'
import type { CommonOptions, Run } from '../run.ts'
import type { TableOptions } from '../table.ts'

/** The shells that `ipvs completion` knows. */
const SHELLS = ['bash', 'zsh', 'fish'] as const
type Shell = (typeof SHELLS)[number]

export const completion: CommandDefinition = {
  name: 'completion',
  description: 'Print the script that lets a shell complete this command.',
  examples: [
    'ipvs completion bash > ~/.local/share/bash-completion/completions/ipvs',
    'eval "$(ipvs completion bash)"',
  ],
  table: false,
  define: (command) => command.addArgument(new Argument('<shell>', 'the shell').choices(SHELLS)),
  act(run: Run, _: CommonOptions, shell: Shell) {
    run.out.formatted({ bash: BASH, zsh: ZSH, fish: FISH }[shell])
    return STATUS.done
  },
}

/** The command that the scripts call, with the words after `ipvs`, of which the last is to be completed. */
export const COMPLETE = '__complete'

/** A line that asks the shell for names of files, which it knows best. */
const FILES = ':files'

const BASH = `# Completion of ipvs in bash. For every new shell:
#   ipvs completion bash > ~/.local/share/bash-completion/completions/ipvs
# or, in ~/.bashrc:  eval "$(ipvs completion bash)"
_ipvs() {
  local before=\${COMP_LINE:0:COMP_POINT} words=() word='' skip='' candidate character
  before=\${before//\\\\/}
  read -ra words <<<"$before"
  [[ $before == *[[:space:]] ]] || word=\${words[-1]}
  [[ $before == *[[:space:]] ]] && words+=('')
  # bash takes a colon for the end of a word, and completes only what follows it.
  for character in : =; do
    if [[ $COMP_WORDBREAKS == *"$character"* && $word == *"$character"* ]]; then
      candidate=\${word%"\${word##*"$character"}"}
      (( \${#candidate} > \${#skip} )) && skip=$candidate
    fi
  done
  COMPREPLY=()
  while IFS=$'\\t' read -r candidate _; do
    if [[ $candidate == ${FILES} ]]; then
      compopt -o filenames 2>/dev/null
      while IFS= read -r candidate; do COMPREPLY+=("$candidate"); done < <(compgen -f -- "\${word#"$skip"}")
    else
      # Its value comes next.
      [[ $candidate == *= ]] && compopt -o nospace 2>/dev/null
      COMPREPLY+=("\${candidate#"$skip"}")
    fi
  done < <("\${words[0]}" ${COMPLETE} -- "\${words[@]:1}" 2>/dev/null)
}
complete -F _ipvs ipvs
`

const ZSH = `#compdef ipvs
# Completion of ipvs in zsh. For every new shell, in a folder of $fpath:
#   ipvs completion zsh > "\${fpath[1]}/_ipvs"
# or, in ~/.zshrc below compinit:  source <(ipvs completion zsh)
_ipvs() {
  local -a candidates fields
  local value text files
  while IFS=$'\\t' read -r value text; do
    if [[ $value == ${FILES} ]]; then
      files=1
    elif [[ $value == *= ]]; then
      fields+=("\${value//:/\\\\:}\${text:+:$text}")
    else
      candidates+=("\${value//:/\\\\:}\${text:+:$text}")
    fi
  done < <("\${(Q)words[1]}" ${COMPLETE} -- "\${(@Q)words[2,CURRENT-1]}" "\${(Q)PREFIX}" 2>/dev/null)
  (( \${#candidates} )) && _describe ipvs candidates
  (( \${#fields} )) && _describe ipvs fields -S ''
  [[ -n $files ]] && _files
}
if [[ \${funcstack[1]} == _ipvs ]]; then
  _ipvs "$@"
else
  compdef _ipvs ipvs
fi
`

const FISH = `# Completion of ipvs in fish. For every new shell:
#   ipvs completion fish > ~/.config/fish/completions/ipvs.fish
function __ipvs_complete
    set -l words (commandline -opc)
    set -l word (commandline -ct)
    for line in (command $words[1] ${COMPLETE} -- $words[2..-1] "$word" 2>/dev/null)
        if test "$line" = ${FILES}
            for file in $word*
                test -d "$file" && echo "$file/" || echo "$file"
            end
        else
            echo $line
        end
    end
end
complete -c ipvs -f -a '(__ipvs_complete)'
`

/** Runs something on the table. */
type WithTable = <T>(options: TableOptions, body: (ipvs: Ipvs) => Promise<T>) => Promise<T>

/** Candidates for the last word. A word that is not fit for a terminal is none. */
export async function complete(
  program: Command,
  words: readonly string[],
  withTable: WithTable,
): Promise<Candidate[]> {
  const word = words.at(-1) ?? ''
  const before = withEarlyOptions(words.slice(0, -1))
  if (before.length === 1 && before[0] === 'help') return matching(ofProgram(program, word), word)
  const name = before.find((one) => !one.startsWith('-'))
  const command = program.commands.find((one) => one.name() === name)
  const candidates =
    name === undefined
      ? ofProgram(program, word)
      : command === undefined
        ? []
        : await ofCommand(command, before.slice(before.indexOf(name) + 1), word, withTable)
  return matching(candidates, word)
}

function matching(candidates: readonly Candidate[], word: string): Candidate[] {
  return candidates.filter(
    ([candidate]) =>
      candidate === FILES || (candidate.startsWith(word) && candidate === printable(candidate)),
  )
}

function ofProgram(program: Command, word: string): Candidate[] {
  const help = program.createHelp()
  if (word.startsWith('-')) return help.visibleOptions(program).flatMap(flagsOf)
  return help.visibleCommands(program).map((one) => [one.name(), one.description()])
}

async function ofCommand(
  command: Command,
  before: readonly string[],
  word: string,
  withTable: WithTable,
): Promise<Candidate[]> {
  const options = command.createHelp().visibleOptions(command)
  const { given, places, open } = readWords(options, before)
  const known = (body: (ipvs: Ipvs) => Promise<Candidate[]>): Promise<Candidate[]> =>
    withTable(given, body).catch(() => [])
  if (open?.attributeName() === 'service') return known(serviceCandidates)
  if (open !== undefined) return valuesOf(open, word.slice(0, word.lastIndexOf(',') + 1))
  const assigned = /^(--[\w-]+)=/.exec(word)
  if (assigned !== null) {
    const option = options.find(({ long }) => long === assigned[1])
    if (option === undefined) return []
    return valuesOf(option, word.slice(0, Math.max(assigned[0].length, word.lastIndexOf(',') + 1)))
  }
  if (word.startsWith('-') && word !== '-') return options.flatMap(flagsOf)
  // The words of a verb that names no service.
  const everywhere = before.includes('--everywhere')
  const argument = argumentAt(command, everywhere ? places.length + 1 : places.length)
  if (argument === undefined) return []
  if (argument.argChoices !== undefined) return argument.argChoices.map((choice) => [choice])
  switch (argument.name()) {
    case 'service':
      return known(serviceCandidates)
    case 'server':
    case 'server|weight':
    case 'server|field=value': {
      const about = {
        service: everywhere ? undefined : places[0],
        given: everywhere ? places : places.slice(1),
        adds: command.name() === 'add',
        fields: argument.name().endsWith('=value'),
      }
      return wordCandidates(about, word, known)
    }
    case 'a':
    case 'b':
      return [['live', 'the current table'], [FILES]]
    default:
      return [[FILES]]
  }
}

/** The argument at a place. The last may take any number of words. */
function argumentAt({ registeredArguments }: Command, place: number): Argument | undefined {
  const last = registeredArguments.at(-1)
  return registeredArguments[place] ?? (last?.variadic === true ? last : undefined)
}

/** What the words before the last mean: the table they choose, the arguments, and an option that lacks its value. */
function readWords(
  options: readonly Option[],
  words: readonly string[],
): { readonly given: TableOptions; readonly places: readonly string[]; readonly open: Option | undefined } {
  const places: string[] = []
  const given: { netns?: string; memory?: string } = {}
  let open: Option | undefined
  for (const word of words) {
    const [, flag, value] = /^(--?[\w-]+)(?:=(.*))?$/s.exec(word) ?? []
    if (open !== undefined) {
      note(given, open, word)
      open = undefined
    } else if (flag === undefined) {
      places.push(word)
    } else {
      const option = options.find(({ long, short }) => long === flag || short === flag)
      if (option?.required === true && value === undefined) open = option
      else if (option !== undefined && value !== undefined) note(given, option, value)
    }
  }
  return { given, places, open }
}

function note(given: { netns?: string; memory?: string }, option: Option, value: string): void {
  const name = option.attributeName()
  if (name === 'netns' || name === 'memory') given[name] = value
}

function flagsOf({ long, description }: Option): Candidate[] {
  return long == null ? [] : [[long, description]]
}

function valuesOf(option: Option, prefix: string): Candidate[] {
  const values = option.argChoices ?? (option.attributeName() === 'netns' ? netnsNames() : undefined)
  if (values !== undefined) return values.map((value) => [prefix + value])
  return ['memory', 'peer'].includes(option.attributeName()) ? [[FILES]] : []
}

function netnsNames(): string[] {
  try {
    return readdirSync('/run/netns')
  } catch {
    return []
  }
}
