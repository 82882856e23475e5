import { likely } from '../model/check.ts'
import {
  DEFAULT_METHOD,
  DEFAULT_PERSISTENCE_SECONDS,
  DEFAULT_SCHEDULER,
  DEFAULT_WEIGHT,
} from '../model/defaults.ts'
import { CHECKSUMS, METHODS, TUNNEL_TYPES } from '../model/ranges.ts'
import { PERSISTENCE_ENGINES, SCHEDULERS } from '../model/schedulers.ts'
import { FLAG_NAMES } from '../model/scheduler-flags.ts'
import { UsageError } from './exit-status.ts'
import { hang } from './terminal/wrap.ts'

/** The fields of services and real servers as a command line has them: `weight=5`, `persistence.netmask=/24`. */

/** What has fields. */
export type Subject = 'service' | 'server'

interface Field {
  /** How its value is written, for the help. */
  readonly form: string
  readonly description: string
  /** Values that a shell completes. */
  readonly choices: readonly string[]
  /** The value that the library wants. A text that is no such value stays one, and the library refuses it. */
  read(text: string): unknown
}

/** The methods that have a name. */
const METHOD_NAMES = METHODS.filter((method) => typeof method === 'string')

function methodHelp(method: string): string {
  if (method === DEFAULT_METHOD) return `${method} (default)`
  return method === 'masquerade' ? `${method} (NAT)` : method
}

/** The types of tunnels, the one that needs a port with one. */
const TUNNELS = TUNNEL_TYPES.map((type) => (type === 'gue' ? 'gue:6080' : type))

/** A value that says that there is none. */
const NONE = 'none'

const THRESHOLD = {
  form: 'NUMBER',
  choices: [],
  read: (text) => (text === NONE ? 0 : numberOf(text)),
} as const satisfies Partial<Field>

const FIELDS: Readonly<Record<Subject, Readonly<Record<string, Field>>>> = {
  service: {
    scheduler: {
      form: 'NAME',
      description: `${SCHEDULERS.join(', ')} (default: ${DEFAULT_SCHEDULER})`,
      choices: SCHEDULERS,
      read: (text) => text,
    },
    schedulerFlags: {
      form: 'FLAG,FLAG',
      description: `${FLAG_NAMES.join(', ')}; or none`,
      choices: [...FLAG_NAMES, NONE],
      read: (text) => (text === NONE || text === '' ? [] : text.split(',')),
    },
    onePacket: {
      form: 'yes|no',
      description: 'schedule each UDP packet on its own',
      choices: ['yes', 'no'],
      read: readYes,
    },
    persistence: {
      form: 'SECONDS',
      description: 'how long a client stays with its real server; or none',
      choices: [String(DEFAULT_PERSISTENCE_SECONDS), NONE],
      read: readPersistence,
    },
    'persistence.netmask': {
      form: 'MASK',
      description: 'which clients count as one: /24, 255.255.255.0; of IPv6 /64',
      choices: [],
      read: (text) => numberOf(text.replace(/^\/(?=\d+$)/, '')),
    },
    persistenceEngine: {
      form: 'NAME',
      description: `${PERSISTENCE_ENGINES.join(', ')}; or none`,
      choices: [...PERSISTENCE_ENGINES, NONE],
      read: (text) => (text === NONE ? null : text),
    },
  },
  server: {
    method: {
      form: 'NAME',
      description: METHOD_NAMES.map(methodHelp).join(', '),
      choices: METHOD_NAMES,
      read: (text) => text,
    },
    weight: {
      form: 'NUMBER',
      description: `share of new connections; 0: no new ones (default: ${String(DEFAULT_WEIGHT)})`,
      choices: [],
      read: numberOf,
    },
    upperThreshold: { ...THRESHOLD, description: 'most connections; 0: no limit' },
    lowerThreshold: { ...THRESHOLD, description: 'connections below which there are new ones again' },
    tunnel: {
      form: 'TYPE[:PORT][/CHECKSUM]',
      description: `${TUNNELS.join(', ')}; with a checksum: gre/csum`,
      choices: TUNNELS,
      read: readTunnel,
    },
  },
}

/** What has such fields, in an error. */
const CALLED: Readonly<Record<Subject, string>> = { service: 'a virtual service', server: 'a real server' }

/** Whether a word of the command line is a field and its value. */
export function isField(word: string): boolean {
  return word.includes('=')
}

/** The names of the fields. */
export function fieldNames(subject: Subject): string[] {
  return Object.keys(FIELDS[subject])
}

/** What a shell offers for a word that is a field, or its beginning; `given` are the fields before it. */
export function fieldCandidates(
  subject: Subject,
  word: string,
  given: readonly string[],
): readonly (readonly [word: string, description?: string])[] {
  const all = Object.entries(FIELDS[subject])
  if (!isField(word)) {
    const left = all.filter(([name]) => !given.some((one) => one.startsWith(`${name}=`)))
    return left.map(([name, { description }]) => [`${name}=`, description])
  }
  const [, { choices } = { choices: [] }] = all.find(([name]) => word.startsWith(`${name}=`)) ?? []
  // Behind the last of several values.
  const prefix = /^[^=]*=(.*,)?/.exec(word)?.[0] ?? ''
  return choices.map((choice) => [prefix + choice])
}

/** Columns of a help's lines about fields, where the width of the terminal is not known yet. */
const WIDTH = 80

/** The part of a help about fields. */
export function fieldsHelp(...subjects: readonly Subject[]): string {
  const sections = subjects.map((subject) => {
    const rows = Object.entries(FIELDS[subject]).map(
      ([name, { form, description }]) => [`  ${name}=${form}  `, description] as const,
    )
    const indent = Math.max(...rows.map(([term]) => term.length))
    const lines = rows.flatMap(([term, description]) => hang(term.padEnd(indent), description, WIDTH))
    return `\nFields of ${CALLED[subject]}:\n${lines.join('\n')}`
  })
  return sections.join('\n')
}

/**
 * Reads `name=value` words as fields that the library takes; those of it that
 * take something away are `null`. Names are checked here, values by the library.
 */
export function readFields(
  words: readonly string[],
  subject: Subject,
  everywhere = false,
): Record<string, unknown> {
  const fields: Record<string, unknown> = {}
  for (const word of words) {
    const end = word.indexOf('=')
    const name = word.slice(0, end)
    const field = Object.hasOwn(FIELDS[subject], name) ? FIELDS[subject][name] : undefined
    if (field === undefined) throw unknownField(name, subject, everywhere)
    if (name in fields) throw new UsageError(`${name} is given twice`)
    fields[name] = field.read(word.slice(end + 1))
  }
  const { 'persistence.netmask': netmask, ...others } = fields
  if (netmask === undefined) return fields
  const { persistence = {} } = others
  if (persistence === null) {
    throw new UsageError('persistence=none takes the netmask away too: leave out persistence.netmask')
  }
  return { ...others, persistence: { ...persistence, netmask } }
}

function unknownField(name: string, subject: Subject, everywhere: boolean): UsageError {
  const other = subject === 'service' ? 'server' : 'service'
  if (everywhere && Object.hasOwn(FIELDS.service, name)) {
    return new UsageError(
      `${name} is a field of a virtual service, and --everywhere is about real servers: ` +
        'leave out --everywhere and name the service alone',
    )
  }
  if (Object.hasOwn(FIELDS[other], name)) return new UsageError(`${name} ${ELSEWHERE[other]}`)
  const names = fieldNames(subject)
  const meant = likely(name, names)
  const elsewhere = meant === undefined ? likely(name, fieldNames(other)) : undefined
  return new UsageError(
    `${CALLED[subject]} has no field '${name}'${meant === undefined ? '.' : `: did you mean '${meant}'?`} ` +
      `Its fields: ${names.join(', ')}` +
      (elsewhere === undefined ? '' : `; ${elsewhere} ${ELSEWHERE[other]}`),
  )
}

const ELSEWHERE: Readonly<Record<Subject, string>> = {
  service: 'is a field of a virtual service: leave out the real servers',
  server: 'is a field of a real server: name the real servers too',
}

/** The field that a word without a value is probably meant for. */
export function fieldLike(word: string): string | undefined {
  return /^[a-z-]+$/i.test(word)
    ? likely(word, [...fieldNames('service'), ...fieldNames('server')])
    : undefined
}

/** How an option of ipvsadm is written as a field; `undefined` for one that is no field. */
export function fieldOfOption(option: string): string | undefined {
  return Object.hasOwn(OPTIONS, option) ? OPTIONS[option] : undefined
}

const OPTIONS: Readonly<Record<string, string>> = {
  '-s': 'scheduler=wrr',
  '--scheduler': 'scheduler=wrr',
  '-b': 'schedulerFlags=sh-port',
  '--sched-flags': 'schedulerFlags=sh-port',
  '-p': 'persistence=300',
  '--persistent': 'persistence=300',
  '-M': 'persistence.netmask=/24',
  '--netmask': 'persistence.netmask=/24',
  '--pe': 'persistenceEngine=sip',
  '-o': 'onePacket=yes',
  '--ops': 'onePacket=yes',
  '-m': 'method=masquerade',
  '--masquerading': 'method=masquerade',
  '-g': 'method=direct',
  '--gatewaying': 'method=direct',
  '-i': 'method=tunnel',
  '--ipip': 'method=tunnel',
  '-w': 'weight=5',
  '--weight': 'weight=5',
  '-x': 'upperThreshold=1000',
  '--u-threshold': 'upperThreshold=1000',
  '-y': 'lowerThreshold=800',
  '--l-threshold': 'lowerThreshold=800',
  '--tun-type': 'tunnel=gue:6080',
  '--tun-port': 'tunnel=gue:6080',
}

function numberOf(text: string): number | string {
  return /^-?\d+(\.\d+)?$/.test(text) ? Number(text) : text
}

function readYes(text: string): boolean {
  if (text === 'yes' || text === 'true') return true
  if (text === 'no' || text === 'false') return false
  throw new UsageError(`onePacket must be yes or no; got '${text}'`)
}

function readPersistence(text: string): object | null {
  if (text === NONE) return null
  const [, seconds] = /^(\d+)s?$/.exec(text) ?? []
  if (seconds === undefined) {
    throw new UsageError(`persistence must be a number of seconds, or none; got '${text}'`)
  }
  return { timeoutSeconds: Number(seconds) }
}

/** Reads what formatTunnel() writes. */
function readTunnel(text: string): object {
  const [, type, port, checksum] =
    /^([^:/]*)(?::(\d+))?(?:\/([^:/]*))?$/.exec(text === NONE ? 'ipip' : text) ?? []
  if (type === undefined) {
    throw new UsageError(
      `tunnel must be a type of ${TUNNEL_TYPES.join(', ')}, with a port and a checksum (${CHECKSUMS.join(', ')}) if need be, ` +
        `such as gue:6080/csum; got '${text}'`,
    )
  }
  if (type === 'gue' && port === undefined)
    throw new UsageError(`a tunnel of type gue needs a port, such as tunnel=gue:6080; got '${text}'`)
  return {
    type: numberOf(type),
    ...(port !== undefined && { port: Number(port) }),
    ...(checksum !== undefined && { checksum: numberOf(checksum) }),
  }
}
