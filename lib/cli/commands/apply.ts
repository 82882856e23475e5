import {
  type ApplyOptions,
  type ApplyProgress,
  type Differences,
  formatPlan,
  formatState,
  type Ipvs,
  type PlanOptions,
  planStates,
  restrictState,
  type SaveOptions,
  type Scope,
  type State,
  type StateFormat,
  type StateLoss,
  StateSyntaxError,
  type StepKind,
} from '../../index.ts'
import { asUsage, FileError, Refused, reportOf, STATUS, UsageError } from '../exit-status.ts'
import { fileError, readStateOf, STDIN, systemLookups } from '../state-file.ts'
import type { Session } from '../run.ts'
import { ask, hasColor, Progress } from '../terminal/surroundings.ts'

/** Whether what the state does not name is deleted, and the like, as the options of commands have it. */
export interface CompareOptions {
  readonly prune?: boolean
  readonly keepWeights?: boolean
  readonly scope?: readonly string[]
  readonly format?: StateFormat
}

/** Options of `ipvs apply` and `ipvs restore`. */
export interface ChangeOptions extends CompareOptions {
  readonly dryRun?: boolean
  readonly yes?: boolean
  readonly force?: boolean
  readonly allow?: readonly StepKind[]
  readonly maxDeletions?: number
  /** Seconds. */
  readonly drain?: number
}

/** `ipvs plan FILE` */
export async function plan(session: Session, file: string, options: CompareOptions): Promise<number> {
  const state = await readFrom(session, file, options)
  const found = await session.withTable((ipvs) => misuse(ipvs.plan(state, planOptions(options))))
  await print(session, found)
  return found.steps.length === 0 ? STATUS.done : STATUS.differs
}

/** `ipvs apply FILE` and `ipvs restore FILE` */
export async function apply(session: Session, file: string, options: ChangeOptions): Promise<number> {
  const state = await readFrom(session, file, options)
  const { status, say } = await session.withTable((ipvs) =>
    session.interruptible((signal) => applyState(session, ipvs, state, file, options, signal)),
  )
  // Once it is so: a table in a file is written last.
  await say?.()
  return status
}

interface Applied {
  readonly status: number
  readonly say?: () => void | Promise<void>
}

async function applyState(
  session: Session,
  ipvs: Ipvs,
  state: State,
  file: string,
  options: ChangeOptions,
  signal: AbortSignal,
): Promise<Applied> {
  const how = { ...planOptions(options), signal }
  const guards = { ...guardsOf(options), signal }
  const progress = new Progress(session.surroundings)
  const onProgress = ({ phase, done, total }: ApplyProgress): void => {
    progress.bar(PHASES[phase], done, total)
  }

  if (options.yes === true && options.dryRun !== true) {
    // Whatever it finds then, it may do.
    const result = await misuse(ipvs.apply(state, { ...how, ...guards, onProgress })).finally(() => {
      progress.clear()
    })
    return { status: STATUS.done, say: () => print(session, result, { applied: true }) }
  }

  const found = await misuse(ipvs.plan(state, how))
  if (!session.json) await print(session, found)
  // Guards come before the question, and what they say stands below what they are about.
  const { applied: _, ...dry } = await misuse(ipvs.apply(state, { ...how, ...guards, dryRun: true }))
  if (options.dryRun === true) {
    if (session.json) await print(session, dry, { applied: false })
    return { status: dry.steps.length === 0 ? STATUS.done : STATUS.differs }
  }
  if (takesAway(found)) await askFor(session, found, file, signal)
  // Only what was shown: where the table has changed since, this is refused.
  const result = await ipvs.apply(found, { ...guards, onProgress }).finally(() => {
    progress.clear()
  })
  return {
    status: STATUS.done,
    async say() {
      if (session.json) await print(session, result, { applied: true })
      else if (result.steps.length > 0) session.print('Applied.\n')
    },
  }
}

/** Options of `ipvs reconcile`. */
export interface ReconcileCommandOptions extends ChangeOptions {
  /** Seconds. */
  readonly interval?: number
}

/** `ipvs reconcile FILE` */
export async function reconcile(
  session: Session,
  file: string,
  options: ReconcileCommandOptions,
): Promise<number> {
  const { format, interval } = options
  if (file === STDIN)
    throw new UsageError('reconcile reads its file again and again: it cannot be standard input')
  if (options.yes !== true && options.prune !== false) {
    throw new Refused(
      'this deletes what the file does not name, whenever it is seen, and asks nobody: give --yes if that is meant, or --no-prune',
    )
  }
  return session.withTable(async (ipvs) => {
    // What no waiting helps against ends it at once.
    await ipvs.info()
    return session.interruptible(async (signal) => {
      // One after the other, in the order of the runs.
      let printed: Promise<void> = Promise.resolve()
      const reconciler = ipvs.reconcile(
        { file, ...(format !== undefined && { format }), ...systemLookups() },
        {
          ...planOptions(options),
          ...guardsOf(options),
          signal,
          ...(interval !== undefined && { intervalMs: Math.round(interval * 1000) }),
          onRun: (result) => {
            if (result.steps.length > 0)
              printed = printed.then(() => print(session, result, { applied: true }))
            return printed
          },
          onError: (error) => {
            session.complain(reportOf(asUsage(asNamed(error, file))))
          },
        },
      )
      await new Promise((resolve) => {
        signal.addEventListener('abort', resolve, { once: true })
      })
      await reconciler.stop()
      await printed
      throw signal.reason
    })
  })
}

/** An error of the file system that names it in words. */
function asNamed(error: unknown, file: string): unknown {
  return error instanceof StateSyntaxError ? new FileError(error.message) : fileError('read', file, error)
}

function guardsOf({ allow, maxDeletions, force, drain }: ChangeOptions): ApplyOptions {
  return {
    ...(allow !== undefined && { allow }),
    ...(maxDeletions !== undefined && { maxDeletions }),
    ...(force !== undefined && { force }),
    ...(drain !== undefined && { drain: { timeoutMs: Math.round(drain * 1000) } }),
  }
}

const PHASES: Readonly<Record<ApplyProgress['phase'], string>> = {
  apply: 'applying',
  drain: 'draining',
  'roll-back': 'undoing',
}

/** Whether anything is there that will not be: a daemon that is replaced will. */
function takesAway({ steps, deletions }: Differences): boolean {
  return (
    deletions > 0 ||
    steps.some(
      (step) =>
        step.kind === 'stop-daemon' &&
        !steps.some((other) => other.kind === 'start-daemon' && other.state === step.state),
    )
  )
}

/** Asks whether to go on, where there is somebody to ask. */
async function askFor(
  session: Session,
  found: Differences,
  file: string,
  signal: AbortSignal,
): Promise<void> {
  const { stdin, stderr } = session.surroundings
  const what = lossOf(found)
  if (stdin.isTTY !== true || stderr.isTTY !== true || file === STDIN || session.json) {
    throw new Refused(
      `this ${what}, and there is nobody to ask: give --yes if that is meant; nothing was changed`,
    )
  }
  const answer = await ask(`This ${what}. Go on? [y/N] `, session.surroundings, signal)
  signal.throwIfAborted()
  if (answer !== 'yes') throw new Refused('nothing was changed')
}

/** What a plan takes away, as a person reads it. */
function lossOf({ steps, deletions }: Differences): string {
  const services = steps.filter(({ kind }) => kind === 'delete-service').length
  const count = (number: number, thing: string): string[] =>
    number === 0 ? [] : [`${String(number)} ${thing}${number === 1 ? '' : 's'}`]
  const parts = [...count(services, 'service'), ...count(deletions - services, 'real server')]
  return parts.length === 0 ? 'stops a sync daemon' : `deletes ${parts.join(' and ')}`
}

/** Options of `ipvs save`. */
export interface SaveCommandOptions {
  readonly format?: StateFormat
  readonly timeouts?: boolean
  readonly syncDaemons?: boolean
  readonly sysctls?: boolean
  readonly sysctl?: readonly string[]
  readonly scope?: readonly string[]
  readonly lossy?: boolean
}

/** `ipvs save [FILE]` */
export async function save(
  session: Session,
  file: string | undefined,
  options: SaveCommandOptions,
): Promise<number> {
  const { scope, lossy, timeouts, syncDaemons } = options
  const { format } = options
  const printed = file === undefined || file === STDIN
  if (session.json && printed && format !== undefined && format !== 'json')
    throw new UsageError(`--json prints JSON: it does not go with --format ${format}`)
  const sysctls = options.sysctl ?? options.sysctls
  const parts: SaveOptions = {
    // To say yes is to say nothing: it is so by default.
    ...(timeouts === false && { timeouts }),
    ...(syncDaemons === false && { syncDaemons }),
    ...(sysctls !== undefined && { sysctls }),
    ...(scope !== undefined && { scope: scopeOf(scope) }),
  }
  const how = {
    ...(format !== undefined && { format }),
    ...(lossy === true && {
      onLoss: ({ path, reason }: StateLoss) => {
        session.note(`${path}: ${reason}`)
      },
    }),
  }
  await session.withTable(async (ipvs) => {
    try {
      for (const name of options.sysctl ?? []) {
        if ((await ipvs.sysctl(name)) === undefined)
          throw new UsageError(`--sysctl: this kernel has no '${name}'; --sysctls saves those that it has`)
      }
      if (!printed) {
        await ipvs.saveToFile(file, { ...parts, ...how })
        return
      }
      session.print(await formatState(await ipvs.save(parts), how))
    } catch (error) {
      if (error instanceof TypeError && format === 'ipvsadm')
        throw new UsageError(`${error.message} Or give --lossy.`)
      throw fileError('write', file ?? '', asUsage(error))
    }
  })
  return STATUS.done
}

/** What `ipvs diff` calls the table. */
const LIVE = 'live'

/** `ipvs diff A B` */
export async function diff(session: Session, a: string, b: string, options: CompareOptions): Promise<number> {
  if (a === b && (a === LIVE || a === STDIN)) {
    throw new UsageError(`'${a}' can be one of the two: the other is a file`)
  }
  const { scope: words } = options
  const scope = words === undefined ? undefined : scopeOf(words)
  const beyond = new Set<string>()
  const read = async (file: string): Promise<State> => {
    const state = await readFrom(session, file, options)
    if (scope === undefined) return state
    for (const part of ['timeouts', 'syncDaemons', 'sysctls'] as const)
      if (state[part] !== undefined) beyond.add(part)
    return misuse(restrictState(state, scope))
  }
  const live = (other: State): Promise<State> =>
    session.withTable(async (ipvs) => {
      const sysctls: string[] = []
      for (const name of Object.keys(other.sysctls ?? {})) {
        if ((await ipvs.sysctl(name)) !== undefined) sysctls.push(name)
        else session.note(`this kernel has no sysctl '${name}': not compared`)
      }
      return ipvs.save({
        timeouts: other.timeouts !== undefined,
        syncDaemons: other.syncDaemons !== undefined,
        ...(other.sysctls !== undefined && { sysctls }),
        ...(scope !== undefined && { scope }),
      })
    })
  let before: State
  let after: State
  if (a === LIVE) {
    after = await read(b)
    before = await live(after)
  } else {
    before = await read(a)
    after = b === LIVE ? await live(before) : await read(b)
  }
  for (const part of beyond)
    session.note(`${part} belong to the whole director, and so to no scope: not compared`)
  const { one, other, left } = inCommon(before, after)
  // Half of what the table has says nothing of the file: it was only read along with the rest.
  if (a !== LIVE && b !== LIVE)
    for (const part of left) session.note(`only one of the two has ${part}: not compared`)
  const found = await misuse(planStates(one, other, planOptions(options)))
  if (session.json || found.steps.length > 0) await print(session, found)
  return found.steps.length === 0 ? STATUS.done : STATUS.differs
}

/** What two states both speak of, and the names of what only one does. */
function inCommon(
  one: State,
  other: State,
): { readonly one: State; readonly other: State; readonly left: string[] } {
  const left: string[] = []
  const both = <T extends object>(part: string, a: T | undefined, b: T | undefined): [T?, T?] => {
    if (a === undefined && b === undefined) return []
    if (a === undefined || b === undefined) {
      left.push(part)
      return []
    }
    const keep = (from: T, by: T): T =>
      Object.fromEntries(
        Object.entries(from).filter(([name]) => {
          const known = name in by
          if (!known) left.push(`${part}.${name}`)
          return known
        }),
      ) as T
    return [keep(a, b), keep(b, a)]
  }
  const timeouts = both('timeouts', one.timeouts, other.timeouts)
  const sysctls = both('sysctls', one.sysctls, other.sysctls)
  const daemons = [one.syncDaemons, other.syncDaemons]
  if ((daemons[0] === undefined) !== (daemons[1] === undefined)) left.push('syncDaemons')
  const compared = daemons[0] !== undefined && daemons[1] !== undefined
  const restrict = ({ services, syncDaemons }: State, at: 0 | 1): State => ({
    services,
    ...(timeouts[at] !== undefined && { timeouts: timeouts[at] }),
    ...(sysctls[at] !== undefined && { sysctls: sysctls[at] }),
    ...(compared && syncDaemons !== undefined && { syncDaemons }),
  })
  return { one: restrict(one, 0), other: restrict(other, 1), left }
}

function readFrom({ surroundings }: Session, file: string, { format }: CompareOptions): Promise<State> {
  return readStateOf(file, surroundings.stdin, format)
}

function planOptions({ prune, keepWeights, scope }: CompareOptions): PlanOptions {
  return {
    ...(prune !== undefined && { prune }),
    ...(keepWeights !== undefined && { keepWeights }),
    ...(scope !== undefined && { scope: scopeOf(scope) }),
  }
}

/** Addresses and networks, and firewall marks as `fwmark/5`. */
function scopeOf(words: readonly string[]): Scope {
  const mark = /^fwmark\/(\d+)$/
  const strange = words.find((word) => !mark.test(word) && !/^[\d.a-f:]+(\/\d+)?$/i.test(word))
  if (strange !== undefined) {
    throw new UsageError(
      `--scope takes an address, a network such as 192.0.2.0/24, or fwmark/5; got '${strange}'`,
    )
  }
  return {
    addresses: words.filter((word) => !mark.test(word)),
    fwmarks: words.flatMap((word) => mark.exec(word)?.[1] ?? []).map(Number),
  }
}

/** Misuse that the library finds in what the command line says is the command line's. */
async function misuse<T>(work: Promise<T>): Promise<T> {
  try {
    return await work
  } catch (error) {
    throw asUsage(error)
  }
}

async function print(session: Session, found: Differences, more: object = {}): Promise<void> {
  const { steps, deletions, starved, reordered } = found
  if (session.json) {
    session.printJson({ ...more, deletions, starved, reordered, steps })
    return
  }
  const { stdout, env } = session.surroundings
  session.print(await formatPlan(found, { color: hasColor(stdout, env) }))
}
