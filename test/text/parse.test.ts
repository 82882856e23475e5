import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import {
  detectStateFormat,
  formatState,
  parseState,
  type State,
  type StateFormat,
  StateSyntaxError,
} from '../../lib/text.ts'
import { cases } from '../helpers/depth.ts'
import { hurry } from '../helpers/hurry.ts'
import { chooseSeed, Random } from '../helpers/random.ts'
import { states } from './arbitraries.ts'

/** Texts of states: recognised, read and written back; and what is none. */

const FORMATS: readonly StateFormat[] = ['json', 'yaml', 'ipvsadm']

async function refusal(text: string, options = {}): Promise<StateSyntaxError> {
  const error: unknown = await parseState(text, options).catch((one: unknown) => one)
  expect(error, JSON.stringify(text)).toBeInstanceOf(StateSyntaxError)
  return error as StateSyntaxError
}

const STATE: State = {
  version: 1,
  services: [
    {
      protocol: 'tcp',
      address: '192.0.2.10',
      port: 443,
      scheduler: 'sh',
      schedulerFlags: ['sh-port'],
      onePacket: false,
      persistence: { timeoutSeconds: 300, netmask: '255.255.255.0' },
      realServers: [
        { address: '10.0.0.8', port: 8443, method: 'masquerade', weight: 5 },
        {
          address: '2001:db8::7',
          port: 443,
          method: 'tunnel',
          weight: 0,
          upperThreshold: 9,
          tunnel: { type: 'gue', port: 6080, checksum: 'csum' },
        },
      ],
    },
    { protocol: 'fwmark', fwmark: 4294967295, family: 'ipv6', persistenceEngine: 'sip', realServers: [] },
    { protocol: 50, address: '2001:db8::1', port: 1 },
  ],
  timeouts: { tcpSeconds: 900, tcpFinSeconds: 120, udpSeconds: 300 },
  syncDaemons: [{ state: 'master', multicastInterface: 'eth0', syncId: 1 }],
  sysctls: { sync_threshold: '3\t50', conntrack: '1' },
}

const JSON_TEXT = `{
  "version": 1,
  "services": [
    {
      "protocol": "tcp",
      "address": "192.0.2.10",
      "port": 443,
      "scheduler": "sh",
      "schedulerFlags": ["sh-port"],
      "onePacket": false,
      "persistence": { "timeoutSeconds": 300, "netmask": "255.255.255.0" },
      "realServers": [
        { "address": "10.0.0.8", "port": 8443, "method": "masquerade", "weight": 5 },
        { "address": "2001:db8::7", "port": 443, "method": "tunnel", "weight": 0, "upperThreshold": 9, "tunnel": { "type": "gue", "port": 6080, "checksum": "csum" } }
      ]
    },
    {
      "protocol": "fwmark",
      "fwmark": 4294967295,
      "family": "ipv6",
      "persistenceEngine": "sip",
      "realServers": []
    },
    {
      "protocol": 50,
      "address": "2001:db8::1",
      "port": 1
    }
  ],
  "timeouts": { "tcpSeconds": 900, "tcpFinSeconds": 120, "udpSeconds": 300 },
  "syncDaemons": [
    { "state": "master", "multicastInterface": "eth0", "syncId": 1 }
  ],
  "sysctls": {
    "conntrack": "1",
    "sync_threshold": "3\\t50"
  }
}
`

const YAML_TEXT = `version: 1
services:
  - protocol: tcp
    address: 192.0.2.10
    port: 443
    scheduler: sh
    schedulerFlags: [sh-port]
    onePacket: false
    persistence: { timeoutSeconds: 300, netmask: 255.255.255.0 }
    realServers:
      - { address: 10.0.0.8, port: 8443, method: masquerade, weight: 5 }
      - { address: "2001:db8::7", port: 443, method: tunnel, weight: 0, upperThreshold: 9, tunnel: { type: gue, port: 6080, checksum: csum } }
  - protocol: fwmark
    fwmark: 4294967295
    family: ipv6
    persistenceEngine: sip
    realServers: []
  - protocol: 50
    address: "2001:db8::1"
    port: 1
timeouts: { tcpSeconds: 900, tcpFinSeconds: 120, udpSeconds: 300 }
syncDaemons:
  - { state: master, multicastInterface: eth0, syncId: 1 }
sysctls:
  conntrack: "1"
  sync_threshold: "3\\t50"
`

const LINES_TEXT = `-A -t 192.0.2.10:443 -s sh -p 300 -M 255.255.255.0 -b sh-port
-a -t 192.0.2.10:443 -r 10.0.0.8:8443 -m -w 5
-A -f 7 -6 -s wlc
`

describe('a text', () => {
  test.each<[string, string]>([
    ['JSON', JSON_TEXT],
    ['YAML', YAML_TEXT],
  ])('of %s has this layout, and is read', async (name, text) => {
    expect(await formatState(STATE, { format: name.toLowerCase() as StateFormat })).toBe(text)
    expect(await parseState(text)).toEqual(STATE)
  })

  test('is JSON unless another form is named', async () => {
    expect(await formatState(STATE)).toBe(JSON_TEXT)
  })

  test.each(['json', 'yaml'] as const)('of %s leaves out what is undefined', async (format) => {
    const state = {
      version: 1,
      services: [
        { protocol: 'fwmark', fwmark: 7, family: undefined },
        {
          protocol: 'tcp',
          address: '192.0.2.10',
          port: 80,
          realServers: [{ address: '10.0.0.1', port: undefined }],
        },
      ],
      timeouts: { udpSeconds: undefined },
      syncDaemons: undefined,
      sysctls: { conntrack: undefined },
    } as const
    const text = await formatState(state, { format })
    expect(text).not.toMatch(/undefined|conntrack/)
    expect((await parseState(text)).services?.[1]?.realServers).toEqual([{ address: '10.0.0.1' }])
  })

  test('does not depend on the order of what it is made of', async () => {
    const reverse = (value: unknown): unknown =>
      typeof value !== 'object' || value === null
        ? value
        : Array.isArray(value)
          ? value.map(reverse)
          : Object.fromEntries(
              Object.entries(value)
                .reverse()
                .map(([name, item]) => [name, reverse(item)]),
            )
    for (const format of ['json', 'yaml'] as const) {
      expect(await formatState(reverse(STATE) as State, { format })).toBe(
        await formatState(STATE, { format }),
      )
    }
  })

  test('of an empty table is one', async () => {
    expect(await formatState({ services: [] })).toBe('{\n  "version": 1,\n  "services": []\n}\n')
    expect(await formatState({ services: [] }, { format: 'yaml' })).toBe('version: 1\nservices: []\n')
    expect(await formatState({ services: [] }, { format: 'ipvsadm' })).toBe('')
    const empty = { services: [], syncDaemons: [], sysctls: {}, timeouts: {} }
    for (const format of ['json', 'yaml'] as const) {
      expect(await parseState(await formatState(empty, { format }))).toEqual({ version: 1, ...empty })
    }
  })

  test.each(FORMATS)('of %s gives the state again, whatever that is', async (format) => {
    const seed = chooseSeed(`round trip of ${format}`)
    await fc.assert(
      fc.asyncProperty(states({ sayable: format === 'ipvsadm' }), async (state) => {
        const text = await formatState(state, { format })
        expect(await parseState(text, { format })).toEqual(state)
        const empty = text === ''
        if (!empty) expect(await parseState(text.replaceAll('\n', '\r\n'))).toEqual(state)
      }),
      { seed, numRuns: cases(100, 2_000) },
    )
  })

  test.each<[string, string, StateFormat]>([
    ['JSON', '{ "services": [] }', 'json'],
    ['JSON after blanks', '\uFEFF\r\n\t {"services":[]}', 'json'],
    ['YAML', 'services: []', 'yaml'],
    ['YAML after comments', '# ours\n\n  # and yours\nservices: []', 'yaml'],
    ['YAML with a mark of its own', '---\nservices: []\n...\n', 'yaml'],
    ['lines', '-A -f 1', 'ipvsadm'],
    ['lines after comments', '# ours\r\n\r\n#\n  -A -f 1', 'ipvsadm'],
    ['lines with long commands', '--add-service -f 1', 'ipvsadm'],
    ['lines with the program', 'ipvsadm -A -f 1', 'ipvsadm'],
    ['lines with a path', '/sbin/ipvsadm -A -f 1', 'ipvsadm'],
    ['lines after the program alone', 'ipvsadm\n-A -f 1', 'ipvsadm'],
  ])('is recognised: %s', async (_, text, format) => {
    expect(detectStateFormat(text)).toBe(format)
    const state = await parseState(text)
    expect(state.services).toHaveLength(format === 'ipvsadm' ? 1 : 0)
    expect(await parseState(text, { format })).toEqual(state)
    for (const other of FORMATS) {
      // JSON is YAML too.
      if (other === format || (format === 'json' && other === 'yaml')) continue
      expect((await refusal(text, { format: other })).format).toBe(other)
    }
  })
})

test.each(['', ' \r\n', '# ours\n\n  # and yours'])('nothing is recognised in %j', (text) => {
  expect(detectStateFormat(text)).toBeUndefined()
})

describe('$schema', () => {
  const state: State = { version: 1, services: [] }

  test.each([
    ['JSON', '{ "$schema": "./state.schema.json", "version": 1, "services": [] }'],
    ['YAML', '$schema: ./state.schema.json\nversion: 1\nservices: []\n'],
  ])('is read over in %s', async (_, text) => {
    expect(await parseState(text)).toEqual(state)
  })

  test('is not written', async () => {
    const given = { $schema: './state.schema.json', ...state }
    for (const format of FORMATS) {
      expect(await formatState(given, { format })).toBe(await formatState(state, { format }))
    }
    expect(given).toHaveProperty('$schema')
  })
})

describe('YAML', () => {
  test('may say that it is 1.2', async () => {
    expect(await parseState('%YAML 1.2\n---\nservices: []\n')).toEqual({ services: [] })
  })

  test('takes what an anchor names as often as it is named', async () => {
    const services = Array.from(
      { length: 1000 },
      (_, index) => `  - { protocol: fwmark, fwmark: ${String(index + 1)}, realServers: *pool }\n`,
    )
    const text = `services:\n  - { protocol: fwmark, fwmark: 5000, realServers: &pool [{ address: 10.0.0.1 }] }\n${services.join('')}`
    const state = await parseState(text)
    expect(state.services).toHaveLength(1001)
    expect(state.services?.[1000]?.realServers).toEqual([{ address: '10.0.0.1' }])
  })

  test('takes merge keys, and what stands beside one wins', async () => {
    const text = `services:
  - protocol: fwmark
    fwmark: 1
    realServers:
      - &web { address: 10.0.0.1, method: masquerade, weight: 5 }
      - { <<: *web, address: 10.0.0.2 }
      - { address: 10.0.0.3, <<: [{ weight: 2 }, *web] }
`
    expect((await parseState(text)).services?.[0]?.realServers).toEqual([
      { address: '10.0.0.1', method: 'masquerade', weight: 5 },
      { address: '10.0.0.2', method: 'masquerade', weight: 5 },
      { address: '10.0.0.3', method: 'masquerade', weight: 2 },
    ])
  })
})

describe('a state', () => {
  test.each(FORMATS)('that was read from %s does not keep the text', async (format) => {
    setFlagsFromString('--expose-gc')
    const collect = runInNewContext('gc') as () => void
    const used = (): number => {
      collect()
      const { heapUsed, external } = process.memoryUsage()
      return heapUsed + external
    }
    const MiB = 2 ** 20
    const before = used()
    const states: State[] = []
    for (let count = 0; count < 16; count++) {
      const state: State = {
        services: [
          {
            protocol: 'tcp',
            address: '192.168.100.100',
            port: 80,
            scheduler: 'a-long-name-too',
            persistence: { netmask: '255.255.255.128' },
            realServers: [{ address: '172.31.100.100' }],
          },
        ],
      }
      const text = (await formatState(state, { format })).replace(
        format === 'json' ? '{' : /^/,
        format === 'json' ? `{${' '.repeat(4 * MiB)}` : `#${'x'.repeat(4 * MiB)}\n`,
      )
      states.push(await parseState(text, { format }))
    }
    expect(used() - before).toBeLessThan(16 * MiB)
    expect(states).toHaveLength(16)
  })
})

describe('a refusal', () => {
  const service = '{"protocol": "tcp", "address": "192.0.2.1", "port": 80'

  test.each<[string, string, number, number, RegExp, string | undefined]>([
    ['an empty text', '', 1, 1, /the text is empty/, undefined],
    ['nothing but blanks and comments', ' \n# a\n', 1, 1, /the text is empty/, undefined],
    [
      'a NUL',
      '{"services"\n: \0[]}',
      2,
      3,
      /^contains a NUL byte: not a text file, or not UTF-8$/,
      undefined,
    ],
    ['UTF-16', '{\0"\0', 1, 2, /UTF-8/, undefined],
    [
      'what ipvsadm -L prints',
      'IP Virtual Server version 1.2.1 (size=4096)\nProt LocalAddress:Port Scheduler Flags\n',
      1,
      1,
      /ipvsadm -Sn/,
      undefined,
    ],
    ['a word', 'hello', 1, 1, /^this is not a state: neither JSON/, undefined],
    ['an array', '[1]', 1, 1, /a state must be an object, got an array/, undefined],
    [
      'an object of something else',
      '{"name": "ipvs", "services": []}',
      1,
      2,
      /a state has no field 'name'/,
      'name',
    ],
    ['no services', '{"version": 1}', 1, 1, /must have services/, undefined],
    [
      'a later version',
      '{"version": 2, "services": []}',
      1,
      2,
      /^version must be 1, got 2: a newer ipvs may/,
      'version',
    ],
    ['a version of 0', '{"version": 0, "services": []}', 1, 2, /^version must be 1, got 0$/, 'version'],
    [
      'a version in quotes',
      '{"version": "1", "services": []}',
      1,
      2,
      /^version must be 1, got '1'$/,
      'version',
    ],
    [
      'a schema that is no text',
      '{"services": [], "$schema": 1}',
      1,
      18,
      /^\$schema must be a string, got 1$/,
      '$schema',
    ],
    [
      'services of YAML with nothing after them',
      'version: 1\nservices:\n',
      2,
      1,
      /^services must be an array, got null: an empty one is `services: \[\]`$/,
      'services',
    ],
    [
      'real servers of YAML with nothing after them',
      'services:\n  - protocol: tcp\n    address: 192.0.2.1\n    port: 80\n    realServers:\n',
      5,
      5,
      /^services\[0\]\.realServers must be an array, got null: an empty one is `realServers: \[\]`$/,
      'services[0].realServers',
    ],
    [
      'JSON behind a comment',
      '\n  # mine\n{"services": []}',
      2,
      3,
      /^JSON has no comments: remove this line/,
      undefined,
    ],
    [
      'YAML 1.1',
      '# mine\n%YAML 1.1\n---\nservices: []\n',
      2,
      1,
      /^YAML 1\.1 is not supported, only 1\.2/,
      undefined,
    ],
    ['YAML of another version', '%YAML 1.3\n---\nservices: []\n', 1, 7, /YAML version 1\.3/, undefined],
    [
      'services that are none',
      '{"services": {}}',
      1,
      2,
      /services must be an array, got an object/,
      'services',
    ],
    ['null for services', '{"services": null}', 1, 2, /services must be an array, got null/, 'services'],
    [
      'a service that is none',
      '{"services": [1]}',
      1,
      15,
      /services\[0\]: a virtual service must be an object, got 1/,
      'services[0]',
    ],
    [
      'a port',
      '{"services": [\n {"protocol": "tcp", "address": "192.0.2.1", "port": 65536}]}',
      2,
      46,
      /services\[0\]\.port must be .* 65535, got 65536/,
      'services[0].port',
    ],
    [
      'a field that is missing',
      '{"services": [\n {"protocol": "tcp", "address": "192.0.2.1"}]}',
      2,
      2,
      /services\[0\]\.port must be/,
      'services[0].port',
    ],
    [
      'a field that is misspelt',
      `{"services": [\n ${service}, "sheduler": "rr"}]}`,
      2,
      58,
      /services\[0\]: a virtual service has no field 'sheduler': did you mean 'scheduler'\?/,
      'services[0].sheduler',
    ],
    [
      'a field of a server',
      `{"services": [\n ${service}, "realServers": [{"address": "10.0.0.1"},\n{"address": "10.0.0.2",\n "wieght": 1}]}]}`,
      4,
      2,
      /services\[0\]\.realServers\[1\]: .*did you mean 'weight'/,
      'services[0].realServers[1].wieght',
    ],
    [
      'a field within persistence',
      `{"services": [\n ${service}, "persistence": {"timeout": 5}}]}`,
      2,
      74,
      /persistence has no field 'timeout'/,
      'services[0].persistence.timeout',
    ],
    [
      '__proto__',
      `{"services": [\n ${service}, "__proto__": {}}]}`,
      2,
      58,
      /no field '__proto__'/,
      'services[0].__proto__',
    ],
    ['a member twice', '{"services": [],\n"services": []}', 2, 1, /"services" appears twice/, undefined],
    [
      'a service twice',
      `{"services": [${service}},\n${service}, "scheduler": "rr"}]}`,
      2,
      1,
      /services\[1\]: tcp\/192\.0\.2\.1:80 appears twice: it is already services\[0\]/,
      'services[1]',
    ],
    [
      'a server twice, in another form',
      `{"services": [${service}, "realServers": [{"address": "2001:DB8::1", "method": "tunnel"},\n {"address": "2001:db8:0::1", "method": "tunnel"}]}]}`,
      2,
      2,
      /\[2001:db8::1\]:80 appears twice: it is already realServers\[0\] of the same service/,
      'services[0].realServers[1]',
    ],
    [
      'a timeout of 0',
      '{"services": [], "timeouts":\n {"udpSeconds": 0}}',
      2,
      3,
      /timeouts\.udpSeconds must be a whole number 1/,
      'timeouts.udpSeconds',
    ],
    [
      'two masters',
      '{"services": [], "syncDaemons": [{"state": "master", "multicastInterface": "a"},\n{"state": "master", "multicastInterface": "b"}]}',
      2,
      1,
      /master appears twice/,
      'syncDaemons[1]',
    ],
    [
      'a sysctl that is neither a number nor a string',
      '{"services": [], "sysctls": {"conntrack": true}}',
      1,
      30,
      /^sysctls\.conntrack must be a number or a string, got true/,
      'sysctls.conntrack',
    ],
    [
      'a sysctl that leads elsewhere',
      '{"services": [], "sysctls": {"../../x": "1"}}',
      1,
      30,
      /must be a name below net\.ipv4\.vs/,
      'sysctls.../../x',
    ],
    [
      'a comma at the end',
      '{"services": [],}',
      1,
      17,
      /expected a name in double quotes, got "}"/,
      undefined,
    ],
    ['a comma in between', '{"services": [1,,2]}', 1, 17, /expected a value, got ","/, undefined],
    ['no comma', '{"services": [] "version": 1}', 1, 17, /expected ',' or '}', got "\\""/, undefined],
    ['no colon', '{"services" []}', 1, 13, /expected ':', got "\["/, undefined],
    ['another bracket', '{"services": [}', 1, 15, /expected a value, got "}"/, undefined],
    ['a comment', '{"services": [] // none\n}', 1, 17, /expected ',' or '}', got "\/"/, undefined],
    ['a word', '{"services": none}', 1, 14, /expected a value, got "none"/, undefined],
    ['a number with a zero', '{"services": [01]}', 1, 15, /expected a value, got "01"/, undefined],
    ['single quotes', "{'services': []}", 1, 2, /a name in double quotes, got "'"/, undefined],
    ['an escape', '{"services": ["\\q"]}', 1, 15, /an escape that JSON does not have/, undefined],
    ['a string over two lines', '{"serv\nices": []}', 1, 7, /a line break inside a string/, undefined],
    ['more after it', '{"services": []}\n{}', 2, 1, /expected the end of the text, got "{"/, undefined],
    [
      'a text that is cut off',
      '{"services": [',
      1,
      15,
      /the text ends in an array where a value is expected: it is cut off/,
      undefined,
    ],
    ['a string that is cut off', '{"services": ["tc', 1, 15, /this string has no end/, undefined],
    ['YAML that is cut off', 'services: [', 1, 12, /sequence/, undefined],
    ['YAML with a key twice', 'services: []\nservices: []\n', 2, 1, /unique/, undefined],
    ['YAML with a tag', 'services: !!js/function x\n', 1, 11, /tag/, undefined],
    ['YAML of two documents', 'services: []\n---\nservices: []\n', 2, 1, /a second YAML document/, undefined],
    ['YAML that merges what is no map', 'services: []\n<<: 5\n', 2, 5, /merge/i, undefined],
    [
      'JSON that is very deep',
      `{"services": ${'['.repeat(100_000)}${']'.repeat(100_000)}}`,
      1,
      113,
      /nested more than 100 levels deep/,
      undefined,
    ],
    ['YAML without what it refers to', 'services: *all\n', 1, 11, /alias .*: all/, undefined],
    [
      'YAML that refers to itself',
      'services: &all [*all]\n',
      1,
      17,
      /alias all is a part of what it/,
      undefined,
    ],
    ['YAML with a tag of the package', 'services: !!set {}\n', 1, 11, /Unresolved tag/, undefined],
    [
      'a field of YAML',
      'services:\n  - protocol: tcp\n    address: 192.0.2.1\n    port: "80"\n',
      4,
      5,
      /services\[0\]\.port must be a whole number 0 to 65535, got '80'/,
      'services[0].port',
    ],
    [
      'a server of YAML',
      'services:\n  - protocol: tcp\n    address: 192.0.2.1\n    port: 80\n    realServers:\n      - address: 10.0.0.1\n      - { address: 10.0.0.2, weight: -1 }\n',
      7,
      30,
      /services\[0\]\.realServers\[1\]\.weight must be/,
      'services[0].realServers[1].weight',
    ],
  ])('of %s says where and why', async (_, text, line, column, reason, path) => {
    const error = await refusal(text)
    expect(error.reason).toMatch(reason)
    expect([error.line, error.column]).toEqual([line, column])
    expect(error.path).toBe(path)
  })

  test('of YAML that multiplies is quick', async () => {
    const lines = ['a0: &a0 [x, x, x, x, x, x, x, x, x]']
    for (let level = 1; level < 10; level++) {
      const before = Array(9).fill(`*a${String(level - 1)}`)
      lines.push(`a${String(level)}: &a${String(level)} [${before.join(', ')}]`)
    }
    expect((await refusal(lines.join('\n'))).reason).toMatch(/alias/i)
  })

  test.each<[string, string, StateFormat, string]>([
    ['JSON', '{ "services": [] }', 'ipvsadm', 'read as ipvsadm lines, but looks like JSON'],
    ['lines', '-A -f 1', 'json', 'read as JSON, but looks like ipvsadm lines'],
    ['lines', '-A -f 1', 'yaml', 'read as YAML, but looks like ipvsadm lines'],
  ])('of %s by another name says so: %s as %s', async (_, text, format, reason) => {
    const error = await refusal(`# not ${text}\n\n  ${text}\n`, { format })
    expect(error.reason).toContain(reason)
    expect([error.format, error.line, error.column]).toEqual([format, 3, 3])
  })

  test('of what the caller passes is no syntax error', async () => {
    await expect(parseState(1 as never)).rejects.toThrow('text must be a string, or bytes in UTF-8, got 1')
    await expect(parseState(null as never)).rejects.toThrow(
      'text must be a string, or bytes in UTF-8, got null',
    )
    await expect(parseState('', { form: 'json' } as never)).rejects.toThrow(
      "no field 'form': did you mean 'format'?",
    )
    await expect(parseState('x', { format: 'xml' as never })).rejects.toThrow(
      /format must be one of 'json', 'yaml'/,
    )
    await expect(formatState({ services: [] }, { format: 'xml' as never })).rejects.toThrow(
      /format must be one of/,
    )
  })

  test('of a state to write names where', async () => {
    const state = {
      services: [
        {
          protocol: 'tcp',
          address: '192.0.2.1',
          port: 80,
          realServers: [{ address: '10.0.0.1', weight: -1 }],
        },
      ],
    }
    const error: unknown = await formatState(state as State).catch((one: unknown) => one)
    expect(error).toBeInstanceOf(RangeError)
    expect(error).toMatchObject({
      path: 'services[0].realServers[0].weight',
      message: 'services[0].realServers[0].weight must be a whole number 0 to 2147483647, got -1',
    })
  })
})

describe('a text that was cut', () => {
  test.each<[string, string]>([
    ['JSON', JSON_TEXT],
    ['YAML', YAML_TEXT],
    ['lines', LINES_TEXT],
  ])('anywhere is refused, or read as what is left of it: %s', async (_, text) => {
    const whole = await parseState(text)
    for (let length = 0; length < text.length; length++) {
      const cut = text.slice(0, length)
      const result: unknown = await parseState(cut).catch((error: unknown) => error)
      if (result instanceof Error) {
        expect(result, JSON.stringify(cut)).toBeInstanceOf(StateSyntaxError)
        continue
      }
      // JSON ends with its last bracket, and only the newline can be missing.
      if (text === JSON_TEXT) expect(result).toEqual(whole)
      else expect((result as State).services?.length).toBeLessThanOrEqual(whole.services?.length ?? 0)
    }
  })
})

describe('garbage', () => {
  test('is refused as such, or is a state', async () => {
    const random = new Random(chooseSeed('garbage'))
    const texts = [JSON_TEXT, YAML_TEXT, LINES_TEXT]
    for (let turn = cases(300, 3_000); turn > 0; turn--) {
      let text = random.pick(texts)
      for (let change = random.below(4); change >= 0; change--) {
        const at = random.below(text.length)
        const some = String.fromCharCode(random.below(3) === 0 ? random.below(0x3000) : random.below(128))
        const kind = random.below(4)
        if (kind === 0) text = text.slice(0, at) + some + text.slice(at)
        else if (kind === 1) text = text.slice(0, at) + text.slice(at + 1 + random.below(9))
        else if (kind === 2) text = text.slice(0, at) + some + text.slice(at + 1)
        else text = text.slice(at) + text.slice(0, at)
      }
      const result: unknown = await parseState(text).catch((error: unknown) => error)
      if (result instanceof StateSyntaxError) {
        const lines = text.split('\n')
        expect(result.line).toBeLessThanOrEqual(lines.length)
        expect(result.column).toBeLessThanOrEqual((lines[result.line - 1] ?? '').length + 2)
        continue
      }
      expect(result, text).not.toBeInstanceOf(Error)
      await formatState(result as State)
    }
  })
})

describe('a big table', () => {
  const big: State = {
    version: 1,
    services: [
      {
        protocol: 'fwmark',
        fwmark: 1,
        family: 'ipv4',
        scheduler: 'wlc',
        realServers: Array.from({ length: cases(2_000, 20_000) }, (_, index) => ({
          address: `10.${String(index >> 8)}.${String(index & 255)}.1`,
          port: 80,
          method: 'direct' as const,
          weight: 1,
        })),
      },
    ],
  }

  beforeEach(hurry)
  afterEach(() => {
    vi.restoreAllMocks()
  })

  /** How often others had the JS thread meanwhile. */
  async function turnsDuring(work: () => Promise<unknown>): Promise<number> {
    let turns = 0
    let done = false
    const turn = (): void => {
      turns += 1
      if (!done) setImmediate(turn)
    }
    setImmediate(turn)
    await work()
    done = true
    return turns
  }

  test.each(['json', 'ipvsadm'] as const)(
    'as %s lets others have the JS thread meanwhile',
    async (format) => {
      let text = ''
      expect(
        await turnsDuring(async () => {
          text = await formatState(big, { format })
        }),
      ).toBeGreaterThan(2)
      expect(await turnsDuring(() => parseState(text))).toBeGreaterThan(5)
    },
  )

  test.each(['json', 'ipvsadm'] as const)('as %s ends when it is aborted', async (format) => {
    const reason = new Error('enough')
    const abortSoon = (): AbortSignal => {
      const controller = new AbortController()
      setImmediate(() => {
        controller.abort(reason)
      })
      return controller.signal
    }
    await expect(formatState(big, { format, signal: abortSoon() })).rejects.toBe(reason)
    const text = await formatState(big, { format })
    await expect(parseState(text, { signal: abortSoon() })).rejects.toBe(reason)
    await expect(parseState(text, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
  })

  test('as YAML is read and written too', async () => {
    expect(await parseState(await formatState(big, { format: 'yaml' }))).toEqual(big)
  })
})
