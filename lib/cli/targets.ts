import { Argument, type Command } from 'commander'
import { formatEndpoint, parseEndpoint, type RealServerKey, type ServiceKey } from '../index.ts'
import type { Target } from './edits.ts'
import { checked, UsageError } from './exit-status.ts'
import { fieldLike, isField } from './fields.ts'
import { filled, SERVICE, serverOf, serviceOf } from './options.ts'

/** What the words of a verb are about: SERVICE, SERVERs, fields, or with --everywhere no SERVICE. */

const SERVERS = '10.0.0.7:8080, [2001:db8::7]:8080, or an address alone, whose port is that of the service'

/** What may come behind the real servers of a verb. */
const BEHIND = {
  'field=value': { usage: '[server...] [field=value...]', description: 'fields, such as weight=5' },
  weight: { usage: '<server...> <weight>', description: 'the weight' },
} as const

/** Arguments of a verb: a service, any number of real servers, and what comes behind these. */
export function withWords(command: Command, behind?: keyof typeof BEHIND): Command {
  command.argument('<service>', SERVICE)
  if (behind === undefined)
    return command.addArgument(new Argument('[server...]', SERVERS).argParser(collect))
  const { usage, description } = BEHIND[behind]
  // Commander has but one argument of any number of words.
  return command
    .addArgument(new Argument(`[server|${behind}...]`, `${SERVERS}; then ${description}`).argParser(collect))
    .usage(`[options] <service> ${usage}`)
}

function collect(word: string, before: readonly string[] | undefined): readonly string[] | undefined {
  return [...(before ?? []), filled(word)]
}

export function withEverywhere(command: Command): Command {
  return command.option(
    '--everywhere',
    'name no service: the real servers in all services; an address alone means every port of that machine',
  )
}

/** How a service or a real server that is an option of ipvsadm is written; `undefined` for any other option. */
export function nameOfOption(option: string): string | undefined {
  const [subject, name] = (Object.hasOwn(OPTIONS, option) ? OPTIONS[option] : undefined) ?? []
  return subject && name && `${subject} is written ${name}`
}

const SERVICE_IS = 'a service'
const SERVER_IS = 'a real server behind its service'
const OPTIONS: Readonly<Record<string, readonly [subject: string, name: string]>> = {
  '-t': [SERVICE_IS, 'tcp/192.0.2.10:80'],
  '--tcp-service': [SERVICE_IS, 'tcp/192.0.2.10:80'],
  '-u': [SERVICE_IS, 'udp/192.0.2.10:53'],
  '--udp-service': [SERVICE_IS, 'udp/192.0.2.10:53'],
  '--sctp-service': [SERVICE_IS, 'sctp/192.0.2.10:80'],
  '-f': [SERVICE_IS, 'fwmark/5, or fwmark6/5 for IPv6'],
  '--fwmark-service': [SERVICE_IS, 'fwmark/5, or fwmark6/5 for IPv6'],
  '-r': [SERVER_IS, '10.0.0.7:8080'],
  '--real-server': [SERVER_IS, '10.0.0.7:8080'],
}

/** The words of a verb that takes no fields: one that was ignored might change more than was meant. */
export function withoutFields(verb: string, words: readonly string[]): readonly string[] {
  const field = words.find(isField)
  if (field === undefined) return words
  throw new UsageError(`${verb} takes no fields: leave out '${field}'. \`ipvs set\` changes fields`)
}

/** Reads the words that are not fields. */
export function targetOf(words: readonly string[], everywhere = false): Target {
  const names = words.filter((word) => !isField(word))
  const [first = '', ...rest] = names
  if (!everywhere) {
    const service = serviceOf(first)
    return { service, servers: distinct(rest.map((word) => serverOf(known(word, rest), service))) }
  }
  if (names.length === 0) throw new UsageError(NO_SERVER)
  if (first.includes('/')) {
    throw new UsageError(
      `--everywhere is about all services: leave out '${first}', or leave out --everywhere`,
    )
  }
  return {
    service: undefined,
    servers: distinct(names.map((word) => checked(() => parseEndpoint(known(word, names))))),
  }
}

/** What --everywhere lacks if nothing is named. */
export const NO_SERVER = '--everywhere needs a real server, such as 10.0.0.7'

/** The service of a verb that cannot do without one. */
export function serviceIn({ service }: Target): ServiceKey {
  if (service === undefined) throw new UsageError(NO_SERVER)
  return service
}

/** A word that must be a real server, and not the name of a field. */
function known(word: string, words: readonly string[]): string {
  const field = fieldLike(word)
  if (field === undefined) return word
  const next = words[words.indexOf(word) + 1]
  throw new UsageError(`'${word}' is not a real server; a field is written ${field}=${next ?? 'VALUE'}`)
}

function distinct(servers: readonly RealServerKey[]): RealServerKey[] {
  return [...new Map(servers.map((server) => [formatEndpoint(server), server])).values()]
}
