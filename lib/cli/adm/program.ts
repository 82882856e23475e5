import { type Ipvs, IpvsError, printable } from '../../index.ts'
import type { Action } from '../../ipvsadm/command-line.ts'
import { LONGEST_FILE_BYTES } from '../../util/read-file.ts'
import { Names, type NameSources } from '../names.ts'
import { HELP_STATUS, printHelp, VERSION } from './help.ts'
import { messageOf } from './messages.ts'
import { type Input, restore } from './restore.ts'
import { change, readWithHosts, report, type ProgramSession, show } from './run.ts'

/** The surroundings of a program: those of the process, or of a test. */
export interface ProgramSurroundings {
  /** The program's name: that of its messages, and ipvsadm-save and ipvsadm-restore do their own work. */
  readonly program: string
  readonly input: () => Input
  readonly out: (text: string) => void
  readonly err: (text: string) => void
  readonly open: () => Promise<Ipvs>
  /** POSIXLY_CORRECT is set. */
  readonly posix: boolean
  readonly names: NameSources
}

/** Runs one of the three programs. Gives the exit status. */
export function runNamed(args: readonly string[], surroundings: ProgramSurroundings): Promise<number> {
  const { program, out, err } = surroundings
  const safe: ProgramSurroundings = {
    ...surroundings,
    // No string from the kernel, a name server or a line may change the terminal.
    out: (text) => {
      out(printable(text, '\n\t'))
    },
    err: (text) => {
      err(printable(text, '\n\t'))
    },
  }
  if (program === 'ipvsadm-save') return ipvsadmSave(args, safe)
  if (program === 'ipvsadm-restore') return ipvsadmRestore(safe)
  return ipvsadm(args, safe)
}

async function ipvsadm(args: readonly string[], surroundings: ProgramSurroundings): Promise<number> {
  // Whoever reads this may not have IPVS yet. The program ipvsadm needs it even for its help.
  if (surroundings.program === 'ipvs adm' && args.length === 1 && /^(-h|--help)$/.test(args[0] ?? '')) {
    printHelp(surroundings)
    return HELP_STATUS
  }
  return withKernel(surroundings, (session) => runLine(args, session, surroundings))
}

/** ipvsadm-save: the table by names, or by numbers with -n. */
async function ipvsadmSave(args: readonly string[], surroundings: ProgramSurroundings): Promise<number> {
  if (args.some((arg) => arg.startsWith('-') && arg !== '-n')) {
    surroundings.err(
      `${surroundings.program}: Script to save the IPVS table to stdout.\n` +
        '   -n writes addresses and ports as numbers\n',
    )
    return 1
  }
  return ipvsadm(args.includes('-n') ? ['-S', '-n'] : ['-S'], surroundings)
}

/** ipvsadm-restore: clears the table in any case, then executes the lines of the input. */
async function ipvsadmRestore(surroundings: ProgramSurroundings): Promise<number> {
  const pieces: Uint8Array[] = []
  let length = 0
  for await (const bytes of surroundings.input()) {
    length += bytes.length
    if (length > LONGEST_FILE_BYTES) {
      surroundings.err(
        `${surroundings.program}: the input is longer than ${String(LONGEST_FILE_BYTES)} bytes and was not read\n`,
      )
      return 1
    }
    pieces.push(bytes)
  }
  return withKernel({ ...surroundings, program: 'ipvsadm' }, async (session) => {
    await runLine(['-C'], session, surroundings)
    return restore(pieces, session, { comments: true })
  })
}

async function withKernel(
  surroundings: ProgramSurroundings,
  body: (session: ProgramSession) => Promise<number>,
): Promise<number> {
  const { program, out, err, posix } = surroundings
  const ipvs = await open(surroundings)
  if (ipvs === undefined) return 2
  try {
    return await body({ ipvs, program, out, err, posix, names: new Names(surroundings.names) })
  } finally {
    await ipvs.close()
  }
}

/** ipvsadm asks the kernel for its version before it looks at any argument. */
async function open({ open, err }: ProgramSurroundings): Promise<Ipvs | undefined> {
  let ipvs: Ipvs | undefined
  try {
    ipvs = await open()
    await ipvs.info()
    return ipvs
  } catch (error) {
    await ipvs?.close()
    if (error instanceof IpvsError) {
      err(
        `Can't initialize ipvs: ${error.noFamily === true ? 'Protocol not available' : messageOf(error)}\n` +
          'Are you sure that IP Virtual Server is built in the kernel or as module?\n',
      )
    } else {
      // Not the kernel is missing, but what reaches it: the error says what was tried.
      err(`Can't initialize ipvs: ${error instanceof Error ? error.message : String(error)}\n`)
    }
    return undefined
  }
}

async function runLine(
  args: readonly string[],
  session: ProgramSession,
  { input }: ProgramSurroundings,
): Promise<number> {
  let action: Action
  try {
    action = await readWithHosts(args.length === 0 ? ['-L'] : args, session)
  } catch (error) {
    return report(error, 'restore', session.err)
  }
  switch (action.command) {
    case 'help':
      printHelp(session)
      return HELP_STATUS
    case 'version':
      session.out(VERSION)
      return 0
    case 'list':
    case 'save':
      return show(action, session)
    case 'restore':
      return restore(input(), session)
    default:
      return change(session.ipvs, action).then(
        () => 0,
        (error: unknown) => report(error, action.command, session.err),
      )
  }
}
