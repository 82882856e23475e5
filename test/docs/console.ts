import { spawnSync } from 'node:child_process'
import { dirname, join } from 'node:path'
import { openMemory } from '../../lib/cli/memory.ts'
import { runNamed } from '../../lib/cli/adm/program.ts'
import { systemNames } from '../../lib/cli/names.ts'
import { ipvs } from '../cli/terminal.ts'
import { type Example, examples, type Page } from './markdown.ts'

/** One command of a `console` block, and what it prints, be it to standard output or error. */
export interface Step {
  readonly place: string
  readonly command: string
  readonly output: string
}

/**
 * The commands of all `console` blocks of a page, in order: what one leaves the next one finds. A second word behind
 * `console` says what else they need; those are run elsewhere.
 */
export function stepsOf(page: Page, language = 'console'): Step[] {
  return examples(page, language).flatMap(stepsOfBlock)
}

/** A command begins with `$ `. It goes on behind `> `, or until EOF, the end of its here-document. */
export function stepsOfBlock({ place, code }: Example): Step[] {
  const steps: { place: string; command: string; output: string }[] = []
  let open = false
  for (const [index, line] of code.split('\n').entries()) {
    const last = steps.at(-1)
    if (line.startsWith('$ ')) {
      const [page = '', number] = place.split(':')
      steps.push({
        place: `${page}:${String(Number(number) + index + 1)}`,
        command: line.slice(2),
        output: '',
      })
      open = line.includes('<<')
    } else if (last === undefined) {
      throw new Error(`${place}: a console block begins with a command`)
    } else if (open) {
      last.command += `\n${line}`
      open = line !== 'EOF'
    } else if (line.startsWith('> ') && last.output === '') {
      last.command += `\n${line.slice(2)}`
    } else {
      last.output += `${line}\n`
    }
  }
  return steps
}

/** Runs a command as it stands in a page, inside of another if one is named, and gives what it prints. */
export function run(
  { command }: Step,
  cwd: string,
  env: NodeJS.ProcessEnv,
  inside: readonly string[] = [],
): string {
  const [program, ...args] = [...inside, 'bash', '-c', `exec 2>&1; ${command}`]
  const { stdout, stderr } = spawnSync(program, args, {
    cwd,
    env,
    encoding: 'utf8',
  })
  return asInPages(`${stdout}${stderr}`)
}

/**
 * What says that no kernel was touched belongs to the test and not to the page,
 * and the time of a page is always the same.
 */
function asInPages(said: string): string {
  return said
    .replaceAll(/^ipvs: in-memory kernel.*\n/gm, '')
    .replaceAll(/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d/g, '2026-01-05 09:30:00')
}

/** The history of a test is its own, and belongs to the person of the pages. */
export function historyIn(folder: string): Readonly<Record<string, string>> {
  return { IPVS_HISTORY: '', STATE_DIRECTORY: join(folder, '.state'), SUDO_USER: 'alice' }
}

/** Whether a command is `ipvs` and words that a shell hands on as they are. */
export function isPlain({ command }: Step): boolean {
  return /^ipvs [\w .:,/=[\]-]+$/.test(command)
}

/**
 * Does what run() does with a plain command, in this process and its current
 * folder, on the table of a file: to start Node for each takes most of the time.
 */
export async function call({ command }: Step, file: string): Promise<string> {
  const [, ...words] = command.split(' ')
  let said = ''
  const say = (text: string): void => {
    said += text
  }
  if (words[0] === 'adm') {
    const table = await openMemory(file, systemNames)
    await runNamed(words.slice(1), {
      program: 'ipvs adm',
      posix: false,
      input: () => [],
      out: say,
      err: say,
      names: systemNames,
      open: () => table.open(),
    })
    await table.writeBack()
    return said
  }
  let [outLength, errLength] = [0, 0]
  await ipvs(words, {
    env: { IPVS_MEMORY: file, NO_COLOR: '1', ...historyIn(dirname(file)) },
    onStdout(text) {
      say(text.slice(outLength))
      outLength = text.length
    },
    onStderr(text) {
      say(text.slice(errLength))
      errLength = text.length
    },
  })
  return asInPages(said)
}
