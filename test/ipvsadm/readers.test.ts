import { describe, expect, test } from 'vitest'
import { type Action, readLine, LineRefusal } from '../../lib/ipvsadm/command-line.ts'
import { canonicalServiceKey } from '../../lib/model/address.ts'
import { completeDaemon } from '../../lib/model/daemon-settings.ts'
import { endpointName } from '../../lib/model/keys.ts'
import { completeServer } from '../../lib/model/server-settings.ts'
import { completeService } from '../../lib/model/service-settings.ts'
import type { ServiceKey } from '../../lib/model/types.ts'
import { parseState, type State, StateSyntaxError } from '../../lib/text.ts'
import { GROUPS } from '../helpers/adm-lines.ts'
import { wordsOf } from '../helpers/adm-programs.ts'
import { randomLine } from '../helpers/adm-random.ts'
import { cases } from '../helpers/depth.ts'
import { chooseSeed, Random } from '../helpers/random.ts'

/**
 * The reader of states refuses more than that of command lines, which is as
 * ipvsadm is. What it takes it understands in the same way.
 */

const PORTS: Readonly<Record<string, number>> = { http: 80, domain: 53 }

/** A line as ipvsadm reads it; `undefined` if it refuses the line. */
function faithful(words: readonly string[]): Action | undefined {
  const names = { addressOf: () => undefined, portOf: (name: string) => PORTS[name] }
  try {
    return readLine(words, { program: 'ipvsadm', names, posix: false, nested: true })
  } catch (error) {
    if (error instanceof LineRefusal) return undefined
    throw error
  }
}

/** The same line in a state, after `before`; `undefined` if it is refused. */
async function strict(words: readonly string[], before = ''): Promise<State | undefined> {
  const line = words.map((word) => (/^[\w.:,=/[\]+-]+$/.test(word) ? word : `'${word}'`)).join(' ')
  try {
    return await parseState(`${before}${line}\n`, {
      format: 'ipvsadm',
      lookupService: (name) => PORTS[name],
    })
  } catch (error) {
    if (error instanceof StateSyntaxError) return undefined
    throw error
  }
}

/** A line that adds this service, whatever its port. */
function addition(key: ServiceKey): string {
  if (key.protocol === 'fwmark') {
    return `-A -f ${String(key.fwmark)}${key.family === 'ipv6' ? ' -6' : ''}\n`
  }
  const option = key.protocol === 'tcp' ? '-t' : key.protocol === 'udp' ? '-u' : '--sctp-service'
  return `-A ${option} ${endpointName(key.address, key.port)} -p 60\n`
}

/** The part of a table that a line adds, in both readings; `undefined` if one of them refuses it. */
async function bothReadings(words: readonly string[]): Promise<[unknown, unknown] | undefined> {
  const action = faithful(words)
  switch (action?.command) {
    case 'add-service': {
      const [service] = (await strict(words))?.services ?? []
      if (service === undefined) return undefined
      return [
        completeService(canonicalServiceKey(service), service),
        completeService(canonicalServiceKey(action.key), action.service),
      ]
    }
    case 'add-server': {
      const [server] = (await strict(words, addition(action.key)))?.services?.[0]?.realServers ?? []
      if (server === undefined) return undefined
      const { port = -1 } = server
      return [completeServer({ ...server, port }, server), completeServer(action.server, action.server)]
    }
    case 'set': {
      const state = await strict(words)
      return state && [state.timeouts ?? {}, action.timeouts]
    }
    case 'start-daemon': {
      const [daemon] = (await strict(words))?.syncDaemons ?? []
      return daemon && [completeDaemon(daemon), completeDaemon(action.daemon)]
    }
    default:
      return undefined
  }
}

async function compare(lines: readonly (readonly string[])[]): Promise<Map<string, number>> {
  const compared = new Map<string, number>()
  for (const words of lines) {
    // A quote or a line feed inside a word is not part of what a line can say.
    if (words.some((word) => /['\n\r\0]/.test(word))) continue
    const readings = await bothReadings(words)
    if (readings === undefined) continue
    expect(readings[0], words.join(' ')).toEqual(readings[1])
    const command = faithful(words)?.command ?? ''
    compared.set(command, (compared.get(command) ?? 0) + 1)
  }
  return compared
}

describe('what both readers take means the same', () => {
  test('in the lines that the real ipvsadm was tried with', async () => {
    const lines = GROUPS.flatMap((group) =>
      group.lines.map((one) => (typeof one === 'string' ? one : one.line)),
    )
    const compared = await compare(lines.map((line) => wordsOf(line)))
    for (const command of ['add-service', 'add-server', 'set', 'start-daemon']) {
      expect(compared.get(command), command).toBeGreaterThan(5)
    }
  })

  test('in lines by chance', async () => {
    const random = new Random(chooseSeed('readers'))
    const lines = Array.from({ length: cases(3_000, 100_000) }, () => randomLine(random).words)
    const compared = await compare(lines)
    for (const command of ['add-service', 'add-server', 'start-daemon']) {
      expect(compared.get(command), command).toBeGreaterThan(20)
    }
  })
})

describe('an endpoint', () => {
  test.each<[string, string | undefined, string | undefined]>([
    ['10.0.0.1:80', '10.0.0.1:80', '10.0.0.1:80'],
    ['10.0.0.1', '10.0.0.1:0', '10.0.0.1:0'],
    ['[2001:db8::1]:80', '[2001:db8::1]:80', '[2001:db8::1]:80'],
    ['2001:db8::1', '[2001:db8::1]:0', '[2001:db8::1]:0'],
    ['2001:db8::1:80', '[2001:db8::1:80]:0', '[2001:db8::1:80]:0'],
    ['10.0.0.1:http', '10.0.0.1:80', '10.0.0.1:80'],
    ['[2001:db8::1]:http', '[2001:db8::1]:80', '[2001:db8::1]:80'],
    ['10.0.0.1:', undefined, undefined],
    ['[2001:db8::1]', undefined, undefined],
    ['[2001:db8::1:80', undefined, undefined],
    ['[2001:db8::1]80', undefined, undefined],
    ['::1:80x', undefined, undefined],
    ['80', undefined, undefined],
    // ipvsadm reads something other than what these say.
    ['10.1:80', undefined, '10.0.0.1:80'],
    ['[10.0.0.1]:80', undefined, '10.0.0.1:0'],
    ['[10.0.0.1:80]:90', undefined, '10.0.0.1:80'],
  ])('%s', async (text, inState, onCommandLine) => {
    const words = ['-A', '-t', text, '-p', '60']
    const [service] = (await strict(words))?.services ?? []
    const action = faithful(words)
    const named = (key: ServiceKey | undefined): string | undefined =>
      key === undefined || key.protocol === 'fwmark' ? undefined : endpointName(key.address, key.port)
    expect(named(service)).toBe(inState)
    expect(named(action?.command === 'add-service' ? action.key : undefined)).toBe(onCommandLine)
  })
})
