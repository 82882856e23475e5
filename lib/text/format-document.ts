import { definedOf } from '../model/check.ts'
import { printable } from '../model/printable.ts'
import type { RealServerSpec, State, StateService } from '../model/types.ts'
import {
  ADDRESS_KEY_FIELDS,
  DAEMON_FIELDS,
  FWMARK_KEY_FIELDS,
  PERSISTENCE_FIELDS,
  SERVER_FIELDS,
  SERVER_KEY_FIELDS,
  SERVICE_FIELDS,
  TIMEOUT_FIELDS,
  TUNNEL_FIELDS,
} from '../model/validate.ts'
import { slices } from '../util/pace.ts'
import { Pieces } from '../util/pieces.ts'

/**
 * A state as JSON and as YAML, always in the same order and layout and with a
 * line for each real server: two tables can be compared line by line.
 */

type Fields = Readonly<Record<string, unknown>>

/** Order within the objects of a service or a real server. */
const PART_FIELDS = [...PERSISTENCE_FIELDS, ...TUNNEL_FIELDS]
const SERVICE_ORDER = {
  address: [...ADDRESS_KEY_FIELDS, ...SERVICE_FIELDS],
  fwmark: [...FWMARK_KEY_FIELDS, ...SERVICE_FIELDS],
}
const SERVER_ORDER = [...SERVER_KEY_FIELDS, ...SERVER_FIELDS]

function serviceFields(service: StateService): readonly string[] {
  return (service.protocol === 'fwmark' ? SERVICE_ORDER.fwmark : SERVICE_ORDER.address).filter(
    (name) => (service as unknown as Fields)[name] !== undefined,
  )
}

export async function formatJson(state: State, signal: AbortSignal | undefined): Promise<string> {
  const out = new Pieces()
  const { services } = state
  out.add(services === undefined ? '{\n  "version": 1' : '{\n  "version": 1,\n  "services": [')
  let separator = ''
  for await (const some of slices(services ?? [], signal)) {
    for (const service of some) {
      out.add(`${separator}\n    {`)
      separator = ','
      for (const [at, name] of serviceFields(service).entries()) {
        out.add(`${at === 0 ? '' : ','}\n      "${name}": ${json((service as unknown as Fields)[name])}`)
      }
      if (service.realServers !== undefined) await addServersAsJson(out, service.realServers, signal)
      out.add('\n    }')
    }
  }
  if (services !== undefined) out.add(services.length === 0 ? ']' : '\n  ]')
  if (state.timeouts !== undefined) out.add(`,\n  "timeouts": ${json(state.timeouts, TIMEOUT_FIELDS)}`)
  if (state.syncDaemons !== undefined) {
    const list = state.syncDaemons.map((daemon) => `\n    ${json(daemon, DAEMON_FIELDS)}`)
    out.add(`,\n  "syncDaemons": [${list.join(',')}${list.length === 0 ? ']' : '\n  ]'}`)
  }
  if (state.sysctls !== undefined) {
    const list = sorted(state.sysctls).map(([name, value]) => `\n    ${json(name)}: ${json(value)}`)
    out.add(`,\n  "sysctls": {${list.join(',')}${list.length === 0 ? '}' : '\n  }'}`)
  }
  out.add('\n}\n')
  return out.text()
}

async function addServersAsJson(
  out: Pieces,
  servers: readonly RealServerSpec[],
  signal: AbortSignal | undefined,
): Promise<void> {
  out.add(',\n      "realServers": [')
  let separator = ''
  for await (const some of slices(servers, signal)) {
    for (const server of some) {
      out.add(`${separator}\n        ${json(server, SERVER_ORDER)}`)
      separator = ','
    }
  }
  out.add(servers.length === 0 ? ']' : '\n      ]')
}

export async function formatYaml(state: State, signal: AbortSignal | undefined): Promise<string> {
  const out = new Pieces()
  out.add('version: 1\n')
  const { services } = state
  if (services !== undefined) out.add(services.length === 0 ? 'services: []\n' : 'services:\n')
  for await (const some of slices(services ?? [], signal)) {
    for (const service of some) {
      for (const [at, name] of serviceFields(service).entries()) {
        out.add(`${at === 0 ? '  - ' : '    '}${name}: ${yaml((service as unknown as Fields)[name])}\n`)
      }
      const { realServers } = service
      if (realServers === undefined) continue
      out.add(realServers.length === 0 ? '    realServers: []\n' : '    realServers:\n')
      for await (const part of slices(realServers, signal)) {
        for (const server of part) out.add(`      - ${yaml(server, SERVER_ORDER)}\n`)
      }
    }
  }
  if (state.timeouts !== undefined) out.add(`timeouts: ${yaml(state.timeouts, TIMEOUT_FIELDS)}\n`)
  if (state.syncDaemons !== undefined) {
    const list = state.syncDaemons.map((daemon) => `\n  - ${yaml(daemon, DAEMON_FIELDS)}`)
    out.add(`syncDaemons:${list.length === 0 ? ' []' : list.join('')}\n`)
  }
  if (state.sysctls !== undefined) {
    const list = sorted(state.sysctls).map(([name, value]) => `\n  ${yaml(name)}: ${yaml(value)}`)
    out.add(`sysctls:${list.length === 0 ? ' {}' : list.join('')}\n`)
  }
  return out.text()
}

/** In the order of their names; their values as strings. */
function sorted(sysctls: NonNullable<State['sysctls']>): [string, string][] {
  return Object.entries(definedOf(sysctls))
    .map(([name, value]): [string, string] => [name, String(value)])
    .sort(([one], [other]) => (one < other ? -1 : 1))
}

/** A value on one line, its fields in this order. */
function json(value: unknown, order: readonly string[] = PART_FIELDS): string {
  if (Array.isArray(value)) return `[${value.map((item) => json(item)).join(', ')}]`
  // Where JSON leaves DEL and C1 as they are, a terminal and YAML would not.
  if (typeof value === 'string') return printable(JSON.stringify(value))
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  let text = ''
  for (const name of order) {
    if ((value as Fields)[name] === undefined) continue
    text += `${text === '' ? '{ ' : ', '}"${name}": ${json((value as Fields)[name])}`
  }
  return text === '' ? '{}' : `${text} }`
}

/** The same in YAML's flow style. */
function yaml(value: unknown, order: readonly string[] = PART_FIELDS): string {
  if (typeof value === 'string') return yamlText(value)
  if (Array.isArray(value)) return `[${value.map((item) => yaml(item)).join(', ')}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  let text = ''
  for (const name of order) {
    if ((value as Fields)[name] === undefined) continue
    text += `${text === '' ? '{ ' : ', '}${name}: ${yaml((value as Fields)[name])}`
  }
  return text === '' ? '{}' : `${text} }`
}

/** Names and IPv4 addresses need no quotes. A string quoted for JSON is a quoted string in YAML too. */
const PLAIN = /^(?:[a-z][a-z\d_-]*|\d+\.\d+\.\d+\.\d+)$/
/** Words that some YAML readers take for something other than a string. */
const RESERVED = /^(?:true|false|yes|no|on|off|y|n|null)$/

function yamlText(text: string): string {
  return PLAIN.test(text) && !RESERVED.test(text) ? text : printable(JSON.stringify(text))
}
