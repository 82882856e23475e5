import { styleText } from 'node:util'
import * as check from '../model/check.ts'
import { DEFAULT_SCHEDULER } from '../model/defaults.ts'
import { endpointName, formatTunnel, serviceName } from '../model/keys.ts'
import { compareEndpoints, compareServiceKeys } from '../model/order.ts'
import { printable } from '../model/printable.ts'
import type {
  RealServerKey,
  RealServerSpec,
  ServiceKey,
  ServiceSpec,
  SyncDaemonSpec,
  Tunnel,
} from '../model/types.ts'
import { slices } from '../util/pace.ts'
import { sorted } from '../util/sort.ts'
import type { Differences } from './plan.ts'
import { serverSubject, type Step, subjectOf } from './steps.ts'

/** How a plan is printed. */
export interface FormatPlanOptions {
  /** Whether what is added is green, what is deleted red, and so on, as terminals show it. Default false. */
  readonly color?: boolean
}

const COLORS = {
  '+': 'green',
  '-': 'red',
  '~': 'yellow',
  '!': ['bold', 'red'],
  ' ': 'dim',
} as const satisfies Readonly<Record<string, Parameters<typeof styleText>[0] | readonly string[]>>
type Sign = keyof typeof COLORS

interface Line {
  readonly sign: Sign
  readonly text: string
}

/** What a plan does to one service. */
interface Group {
  readonly key: ServiceKey
  readonly head: Line
  readonly servers: ServerLine[]
}

interface ServerLine {
  readonly key: RealServerKey
  readonly line: Line
}

/**
 * Prints a plan as people read a diff: `+` is added, `~` edited, `-` deleted.
 * Real servers stand below their service, and of what is edited only what
 * changes: `weight 1 -> 5`. Lines with `!` need attention: services that would be
 * left without a real server, and what the kernel ignores. Ends with a summary
 * and a line feed.
 */
export async function formatPlan(plan: Differences, options: FormatPlanOptions = {}): Promise<string> {
  check.checkOptions(options, ['color'])
  const fields = check.object(plan, 'a plan')
  for (const name of ['steps', 'starved', 'reordered', 'absentSysctls', 'warnings']) {
    if (Array.isArray(fields[name])) continue
    throw new TypeError(`this is not a complete plan: ${name} is missing. Pass the awaited result of plan()`)
  }
  const color = check.flag(options.color ?? false, 'color')
  const groups = new Map<string, Group>()
  const group = (key: ServiceKey): Group => {
    const id = serviceName(key)
    let known = groups.get(id)
    if (known === undefined) groups.set(id, (known = { key, head: { sign: ' ', text: id }, servers: [] }))
    return known
  }
  /** What comes in place of something that is deleted; additions are the first of the steps. */
  const successors = new Map<string, string>()
  const others: Line[] = []
  const counts = { '+': 0, '~': 0, '-': 0 }
  const describe = (step: Step): void => {
    const sign = signOf(step)
    counts[sign] += 1
    if (!('service' in step)) {
      others.push({ sign, text: describeOther(step) })
      return
    }
    const { servers } = group(step.service)
    const id = serviceName(step.service)
    if (step.kind === 'add-server' && step.replaces !== undefined) {
      successors.set(serverSubject(id, step.replaces), endpointName(step.server.address, step.server.port))
    }
    if (step.kind === 'add-service' && step.replaces !== undefined) {
      successors.set(serviceName(step.replaces), id)
    }
    const successor = sign === '-' ? successors.get(subjectOf(step)) : undefined
    const more = successor === undefined ? '' : `  (replaced by ${successor})`
    if ('server' in step) {
      servers.push(serverLine(step.server, sign, `${describeServer(step)}${more}`))
    } else {
      const head = { sign, text: `${id}  ${describeService(step)}${more}` }
      groups.set(id, { key: step.service, servers, head })
    }
  }
  for await (const some of slices(plan.steps)) {
    for (const step of some) {
      describe(step)
      if (step.kind !== 'delete-service') continue
      const { servers } = group(step.service)
      for await (const gone of slices(step.before.realServers ?? [])) {
        for (const server of gone) servers.push(serverLine(server, '-', serverText(server)))
        counts['-'] += gone.length
      }
    }
  }

  const lines: string[] = []
  const print = ({ sign, text }: Line, indent = ''): void => {
    // What a state or a kernel has in a name must not reach a terminal as it is, nor be a line of its own.
    const line = printable(`${sign} ${indent}${text}`).trimEnd()
    lines.push(color ? colored(sign, line) : line)
  }
  for (const line of others) print(line)
  const ordered = await sorted([...groups.values()], (one, other) => compareServiceKeys(one.key, other.key))
  for await (const some of slices(ordered)) {
    for (const { head, servers } of some) {
      print(head)
      const below = await sorted(servers, (one, other) => compareEndpoints(one.key, other.key))
      for await (const few of slices(below)) for (const { line } of few) print(line, '  ')
    }
  }
  for await (const some of slices(plan.starved)) {
    for (const key of some) {
      print({
        sign: '!',
        text: `${serviceName(key)} would be left without a real server whose weight is above 0`,
      })
    }
  }
  for await (const some of slices(plan.reordered)) {
    for (const key of some) {
      print({
        sign: ' ',
        text: `${serviceName(key)}: its real servers stay in an order that differs from the state's`,
      })
    }
  }
  for await (const some of slices(plan.warnings)) {
    for (const { message } of some) print({ sign: '!', text: message })
  }
  for (const name of plan.absentSysctls) {
    print({ sign: '!', text: `sysctl net.ipv4.vs.${name}  this kernel does not have it` })
  }
  if (plan.steps.length === 0) {
    lines.push(plan.absentSysctls.length === 0 ? 'Nothing to do.' : 'Nothing else to do.')
  } else
    lines.push(
      `${String(counts['+'])} to add, ${String(counts['~'])} to change, ${String(counts['-'])} to delete.`,
    )
  return `${lines.join('\n')}\n`
}

function serverLine(key: RealServerKey, sign: Sign, text: string): ServerLine {
  return { key, line: { sign, text: `${endpointName(key.address, key.port)}  ${text}` } }
}

/** For whoever prints it: whether this process has a terminal is not asked. */
function colored(sign: Sign, line: string): string {
  const format = COLORS[sign]
  return styleText(typeof format === 'string' ? format : [...format], line, { validateStream: false })
}

function signOf({ kind }: Step): '+' | '~' | '-' {
  switch (kind) {
    case 'add-service':
    case 'add-server':
    case 'start-daemon':
      return '+'
    case 'delete-service':
    case 'delete-server':
    case 'stop-daemon':
      return '-'
    case 'edit-service':
    case 'edit-server':
    case 'set-timeouts':
    case 'set-sysctl':
      return '~'
  }
}

function describeService(step: Extract<Step, { readonly kind: `${string}-service` }>): string {
  if (step.kind === 'edit-service') return changes(serviceFields(step.before), serviceFields(step.after))
  if (step.kind === 'delete-service') return present(serviceFields(step.before))
  const { after, replaces } = step
  if (replaces === undefined) return present(serviceFields(after))
  const part = replaces.protocol === 'fwmark' ? 'family' : 'port'
  return `${present(serviceFields(after))}  (replaces ${serviceName(replaces)}: a ${part} cannot be edited)`
}

function describeServer(step: Extract<Step, { readonly kind: `${string}-server` }>): string {
  if (step.kind === 'edit-server') return changes(serverFields(step.before), serverFields(step.after))
  if (step.kind === 'delete-server') return serverText(step.before)
  const { after, replaces } = step
  if (replaces === undefined) return serverText(after)
  const part = replaces.address === after.address ? 'port' : 'family'
  return `${serverText(after)}  (replaces ${endpointName(replaces.address, replaces.port)}: a ${part} cannot be edited)`
}

function serverText(server: RealServerSpec): string {
  return present(serverFields(server))
}

function describeOther(step: Exclude<Step, { readonly service: ServiceKey }>): string {
  switch (step.kind) {
    case 'set-sysctl':
      return `sysctl net.ipv4.vs.${step.name}  ${step.before} -> ${step.after}`
    case 'set-timeouts':
      return `timeouts  ${changes(Object.entries(step.before).map(field), Object.entries(step.after).map(field))}`
    case 'stop-daemon':
      return `${step.state} sync daemon  ${present(daemonFields(step.before))}`
    case 'start-daemon':
      return (
        `${step.state} sync daemon  ${present(daemonFields(step.after))}` +
        (step.replaces === undefined ? '' : '  (replaces the running one, which cannot be edited)')
      )
  }
}

/** A field's name as prose has it, and its value; '' if it has its default. */
type Field = readonly [name: string, value: string]

function field([name, value]: readonly [string, number | string]): Field {
  return [name, String(value)]
}

function serviceFields(spec: ServiceSpec): readonly Field[] {
  const { persistence } = spec
  return [
    ['scheduler', spec.scheduler ?? DEFAULT_SCHEDULER],
    ['schedulerFlags', (spec.schedulerFlags ?? []).join(',')],
    ['onePacket', spec.onePacket === true ? 'yes' : ''],
    [
      'persistence',
      persistence === undefined
        ? ''
        : `${String(persistence.timeoutSeconds)}s/${String(persistence.netmask)}`,
    ],
    ['persistenceEngine', spec.persistenceEngine ?? ''],
  ]
}

function serverFields(server: RealServerSpec): readonly Field[] {
  return [
    ['method', String(server.method)],
    ['weight', String(server.weight)],
    ['upperThreshold', thresholdText(server.upperThreshold)],
    ['lowerThreshold', thresholdText(server.lowerThreshold)],
    ['tunnel', tunnelText(server.tunnel)],
  ]
}

function thresholdText(threshold = 0): string {
  return threshold === 0 ? '' : String(threshold)
}

function tunnelText(tunnel: Tunnel = { type: 'ipip' }): string {
  const text = formatTunnel(tunnel)
  return text === 'ipip' ? '' : text
}

function daemonFields({ state: _, ...rest }: SyncDaemonSpec): readonly Field[] {
  return Object.entries(rest).map(field)
}

/** The fields that do not have their default: 'scheduler wrr, onePacket yes'. */
function present(fields: readonly Field[]): string {
  return fields
    .filter(([, value]) => value !== '')
    .map(([name, value]) => `${name} ${value}`)
    .join(', ')
}

/** What changes: 'weight 1 -> 5, onePacket none -> yes'. */
function changes(before: readonly Field[], after: readonly Field[]): string {
  const old = new Map(before)
  return after
    .filter(([name, value]) => old.get(name) !== value)
    .map(([name, value]) => `${name} ${shown(old.get(name))} -> ${shown(value)}`)
    .join(', ')
}

function shown(value = ''): string {
  return value === '' ? 'none' : value
}
