import { type Lookups } from '../ipvsadm/endpoints.ts'
import * as check from '../model/check.ts'
import { completeDaemon } from '../model/daemon-settings.ts'
import { Errno } from '../model/errno.ts'
import { IpvsError } from '../model/errors.ts'
import {
  checkSysctlName,
  completeSysctls,
  remedyOfSysctl,
  SCHEDULER_SYSCTLS,
  SYSCTLS,
} from '../model/sysctls.ts'
import type { RequestOptions, SavedState, State } from '../model/types.ts'
import type { Session } from '../session/session.ts'
import { compare } from '../state/plan.ts'
import { inScope, type Scope, scopeTest, type ScopeTest } from '../state/scope.ts'
import { type Entry, stateOf, type Table } from '../state/table.ts'
import {
  checkParseOptions,
  FORMAT_OPTIONS,
  parseCheckedState,
  type ParseStateOptions,
} from '../text/parse.ts'
import { slices } from '../util/pace.ts'
import { apply } from './apply.ts'
import { APPLY_OPTIONS, type ApplyOptions, type ApplyResult } from './options.ts'

/** What to include in a saved state. */
export interface SaveOptions extends RequestOptions {
  /** Default true; with a `scope` false, because they belong to the whole director. */
  readonly timeouts?: boolean | undefined
  /** Default: the same as for `timeouts`. */
  readonly syncDaemons?: boolean | undefined
  /**
   * True: all sysctls of net.ipv4.vs that this kernel has, those of the schedulers lblc
   * and lblcr only if a service has the scheduler. An array: those with these names.
   * Default none.
   */
  readonly sysctls?: boolean | readonly string[] | undefined
  /** Only the services inside this scope. Default all. */
  readonly scope?: Scope | undefined
}

/** Names of the options of `save()`. */
export const SAVE_OPTIONS: readonly string[] = ['timeouts', 'syncDaemons', 'sysctls', 'scope', 'signal']
const READS = 8

/** Options of `restore()`: those of `apply()`, and how to read text. */
export interface RestoreOptions
  extends ApplyOptions, Pick<ParseStateOptions, 'format' | 'whole' | keyof Lookups> {}

/** See Ipvs.restore(). */
export async function restore(
  session: Session,
  saved: State | string | Uint8Array,
  options: RestoreOptions,
): Promise<ApplyResult> {
  const { reading, applying } = splitOptions(options)
  const text = typeof saved === 'string' || ArrayBuffer.isView(saved)
  return apply(session, text ? await parseCheckedState(saved, reading) : saved, applying)
}

/** Checks the options of a restore before anything is read, and splits them into reading and applying. */
export function splitOptions(options: RestoreOptions): {
  readonly reading: ParseStateOptions
  readonly applying: ApplyOptions
} {
  check.checkOptions(options, [...FORMAT_OPTIONS, ...APPLY_OPTIONS])
  const { format, whole, lookupService, lookupHost, ...applying } = options
  const { signal } = applying
  const reading = {
    ...(format !== undefined && { format }),
    ...(whole !== undefined && { whole }),
    ...(lookupService !== undefined && { lookupService }),
    ...(lookupHost !== undefined && { lookupHost }),
    ...(signal !== undefined && { signal }),
  }
  checkParseOptions(reading)
  return { reading, applying }
}

/** See Ipvs.save(). */
export async function save(session: Session, options: SaveOptions): Promise<SavedState> {
  check.checkOptions(options, SAVE_OPTIONS)
  const scope = scopeTest(options.scope)
  const whole = scope === undefined
  const sysctls = sysctlNames(options.sysctls ?? false)
  const parts = {
    timeouts: check.flag(options.timeouts ?? whole, 'timeouts'),
    syncDaemons: check.flag(options.syncDaemons ?? whole, 'syncDaemons'),
    ...(sysctls !== undefined && { sysctls }),
  }
  const { services, timeouts, syncDaemons, ...rest } = await session.exclusive(
    'save',
    async (access) => {
      const read = async (): Promise<Table> => within(scope, await access.read(parts))
      let last = await read()
      for (let reads = 1; reads < READS; reads++) {
        options.signal?.throwIfAborted()
        const again = await read()
        if (sameSysctlNames(last, again)) {
          const { steps, services } = await compare(last, again, ALL)
          if (steps.length === 0 && services.moved === 0) return again
        }
        last = again
      }
      throw new IpvsError({ errno: Errno.EAGAIN, command: 'save' })
    },
    options.signal,
  )
  if (options.sysctls !== true) refuseAbsent(sysctls ?? [], rest.sysctls)
  const values = options.sysctls === true ? inUse(rest.sysctls ?? {}, services) : rest.sysctls
  return stateOf({
    services,
    ...(timeouts !== undefined && { timeouts }),
    ...(syncDaemons !== undefined && { syncDaemons: syncDaemons.map(completeDaemon) }),
    ...(values !== undefined && { sysctls: completeSysctls(values) }),
  })
}

/** The table without the services outside a scope, which others may change at any time. */
async function within(scope: ScopeTest, table: Table): Promise<Table> {
  const services: Entry[] = []
  for await (const some of slices(table.services)) {
    for (const entry of some) {
      if (inScope(scope, entry.key)) services.push(entry)
    }
  }
  return { ...table, services }
}

const ALL = { prune: true, keepWeights: false, scope: undefined }

/**
 * Without those of schedulers that no service has: they are there while a module is
 * loaded, and a kernel that has not loaded it could not be given them.
 */
function inUse(
  sysctls: Readonly<Record<string, string>>,
  services: readonly Entry[],
): Readonly<Record<string, string>> {
  const schedulers = new Set(services.map(({ spec }) => spec.scheduler))
  return Object.fromEntries(
    Object.entries(sysctls).filter(([name]) => {
      const module = SCHEDULER_SYSCTLS.get(name)
      return module === undefined || schedulers.has(module.scheduler)
    }),
  )
}

/** A sysctl that was asked for by name must exist, or the caller would think that it was saved. */
function refuseAbsent(names: readonly string[], sysctls: Table['sysctls'] = {}): void {
  const absent = names.find((name) => !Object.hasOwn(sysctls, name))
  if (absent === undefined) return
  throw new RangeError(`sysctls: this kernel has no '${absent}': ${remedyOfSysctl(absent)}`)
}

/** Sysctls may differ because a module was loaded in between and added its own. */
function sameSysctlNames(one: Table, other: Table): boolean {
  const names = ({ sysctls = {} }: Table): string => Object.keys(sysctls).join(' ')
  return names(one) === names(other)
}

function sysctlNames(sysctls: boolean | readonly string[]): readonly string[] | undefined {
  if (sysctls === false) return undefined
  if (sysctls === true) return SYSCTLS
  if (!Array.isArray(sysctls)) {
    throw new TypeError(`sysctls must be true, false or an array of names, got ${check.show(sysctls)}`)
  }
  for (const name of sysctls as unknown[]) checkSysctlName(name)
  return sysctls as readonly string[]
}
