import { expect } from 'vitest'
import type { Ipvs } from '../../lib/ipvs.ts'
import type { Transport } from '../../lib/transport/transport.ts'
import { COMMANDS } from '../helpers/commands.ts'
import {
  attribute,
  destSettings,
  identity,
  ipv4,
  nest,
  serviceSettings,
  text,
  u16,
  u16be,
  u32,
  u8,
} from '../helpers/kernel-bytes.ts'
import { ask, list } from '../helpers/kernel-table.ts'

/**
 * What ip_vs does, case by case: the same list runs on the in-memory kernel and
 * on the real one. Each has an empty namespace of its own with `lo`, and an
 * interface d0 of 1500 bytes with the addresses 10.9.9.1/24 and fd00::1/64.
 */

/** A kernel to ask. */
export interface Kernel {
  readonly transport: Transport
  readonly ipvs: Ipvs
  readonly version: '6.1' | '6.12'
  readonly hz: number
  /** What the kernel mixes into the order of services. */
  readonly hashSeed: number
}

export interface Case {
  readonly title: string
  readonly run: (kernel: Kernel) => Promise<void>
}

const C = COMMANDS
const SERVICE = 1
const DEST = 2
const DAEMON = 3

/** The service tcp 10.0.0.1:80. */
const WEB = identity('10.0.0.1', 80)
const OTHER = identity('10.0.0.2', 80)
const SETTINGS = serviceSettings()
const web = nest(SERVICE, ...WEB)
const SERVER = destSettings({})

/** IPv6 in its sixteen bytes. */
function ipv6(type: number, ...groups: readonly number[]): Uint8Array {
  const all = [...groups, ...Array.from({ length: 8 - groups.length }, () => 0)]
  return attribute(type, Uint8Array.from(all.flatMap((group) => [group >> 8, group & 255])))
}

const V6 = [u16(1, 10), u16(2, 6), ipv6(3, 0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), u16be(4, 80)]

/** Numbers 1 to so many, without one. */
function without<T>(items: readonly T[], index: number): T[] {
  return items.filter((_, at) => at !== index)
}

async function addWeb({ transport }: Kernel): Promise<void> {
  expect(await ask(transport, C.newService, nest(SERVICE, ...WEB, ...SETTINGS))).toBe('ok')
}

async function addMixed({ transport }: Kernel): Promise<void> {
  const members = [
    ipv6(1, 0x2001, 0xdb8, 0, 0, 0, 0, 0, 9),
    u16be(2, 80),
    u32(3, 2),
    u32(4, 1),
    u32(5, 0),
    u32(6, 0),
    u16(11, 10),
  ]
  expect(await ask(transport, C.newDest, web, nest(DEST, ...members))).toBe('ok')
}

function daemon(state: number, ...more: readonly Uint8Array[]): Uint8Array {
  return nest(DAEMON, u32(1, state), text(2, 'd0'), u32(3, 0), ...more)
}

/** The members of the one message that lists this service, by number. */
async function members(
  { transport }: Kernel,
  command: number,
  ...request: readonly Uint8Array[]
): Promise<Map<string, string>> {
  const lines =
    command === C.getService
      ? [await ask(transport, command, ...request)]
      : await list(transport, command, ...request)
  expect(lines).toHaveLength(1)
  const inside = /: \d+:\{ (.*) \}$/.exec(lines[0] ?? '')?.[1] ?? ''
  return new Map(
    [...inside.matchAll(/(?:^| )(\d+):(\{.*?\}|\w*)/g)].map(([, type = '', value = '']) => [type, value]),
  )
}

async function ports(kernel: Kernel): Promise<string[]> {
  const lines = await list(kernel.transport, C.getDest, web)
  return lines.map((line) => / 2:(\w+)/.exec(line)?.[1] ?? line)
}

export const CASES: readonly Case[] = [
  // What comes before the commands

  {
    title: 'a command that does not exist, or not in this mode, is EOPNOTSUPP',
    run: async ({ transport }) => {
      for (const command of [0, C.getDest, C.getDaemon, C.setInfo, 18, 200]) {
        expect(await ask(transport, command), String(command)).toBe('EOPNOTSUPP')
      }
      for (const command of [0, C.newService, C.setConfig, C.getConfig, C.getInfo, C.zero, C.flush, 18]) {
        expect(await list(transport, command), String(command)).toEqual(['EOPNOTSUPP'])
      }
    },
  },
  {
    title: 'a number that is too short, and a nest of 1 to 3 bytes, is ERANGE at the top level',
    run: async ({ transport }) => {
      const refused = 'ERANGE (Attribute failed policy validation)'
      for (const type of [4, 5, 6]) {
        for (const length of [0, 1, 3]) {
          expect(await ask(transport, C.setConfig, attribute(type, new Uint8Array(length)))).toBe(refused)
        }
      }
      for (const type of [1, 2, 3]) {
        for (const length of [1, 2, 3]) {
          expect(await ask(transport, C.getInfo, attribute(type, new Uint8Array(length)))).toBe(refused)
        }
        expect(await ask(transport, C.getConfig, attribute(type, new Uint8Array(0)))).toMatch(/^flags/)
      }
    },
  },
  {
    title:
      'an unknown attribute is passed over, of two with one number the last holds, flag bits do not count',
    run: async (kernel) => {
      const { transport } = kernel
      await addWeb(kernel)
      const unknown = [u32(0, 1), u32(13, 1), u32(99, 1), attribute(200, new Uint8Array(1))]
      expect(await ask(transport, C.getService, ...unknown, nest(SERVICE, ...unknown, ...WEB))).toMatch(
        /^flags 0/,
      )
      expect(await ask(transport, C.getService, nest(SERVICE, u16(1, 10), u16be(4, 81), ...WEB))).toMatch(
        /^flags/,
      )
      expect(await ask(transport, C.getService, nest(SERVICE, ...WEB, u16be(4, 81)))).toBe('ESRCH')
      expect(await ask(transport, C.getService, nest(SERVICE, ...OTHER), web)).toMatch(/^flags/)
      const flagged = [u16(0x8001, 2), u16(0x4002, 6), ...WEB.slice(2)]
      expect(await ask(transport, C.getService, nest(0x8000 | SERVICE, ...flagged))).toMatch(/^flags/)
    },
  },
  {
    title: 'what is longer than it need be is cut, bytes behind the last attribute are passed over',
    run: async (kernel) => {
      const { transport } = kernel
      await addWeb(kernel)
      const long = [
        attribute(1, Uint8Array.of(2, 0, 9, 9)),
        attribute(2, Uint8Array.of(6, 0, 9, 9)),
        ipv4(3, '10.0.0.1'),
        attribute(4, Uint8Array.of(0, 80, 9, 9)),
      ]
      expect(await ask(transport, C.getService, nest(SERVICE, ...long))).toMatch(/^flags/)
      const rest = Uint8Array.of(1, 2, 3)
      expect(await ask(transport, C.getService, web, rest)).toMatch(/^flags/)
      // An attribute that is longer than what is left ends the list.
      expect(await ask(transport, C.getService, web, Uint8Array.of(200, 0, 1, 0))).toMatch(/^flags/)
      expect(await ask(transport, C.getService, nest(SERVICE, ...WEB, Uint8Array.of(3, 0, 1, 0)))).toMatch(
        /^flags/,
      )
    },
  },
  {
    title: 'an address may be short and is filled with zeros; a longer one is EINVAL',
    run: async (kernel) => {
      const { transport } = kernel
      await addWeb(kernel)
      const at = (...bytes: readonly number[]): Uint8Array =>
        nest(SERVICE, u16(1, 2), u16(2, 6), attribute(3, Uint8Array.from(bytes)), u16be(4, 80))
      expect(await ask(transport, C.getService, at(10, 0, 0, 1))).toMatch(/^flags/)
      expect(await ask(transport, C.getService, at(10, 0, 0, 1, 7, 7))).toMatch(/^flags/)
      expect(await ask(transport, C.getService, at(10, 0, 0))).toBe('ESRCH')
      expect(await ask(transport, C.getService, at())).toBe('ESRCH')
      expect(await ask(transport, C.getService, at(10, 0, 0, 1, ...new Array<number>(13).fill(0)))).toBe(
        'EINVAL',
      )
    },
  },
  {
    title: 'names need a NUL within their length, and are cut at it',
    run: async ({ transport }) => {
      const bytes = (type: number, value: string): Uint8Array =>
        attribute(type, new TextEncoder().encode(value))
      const add = (name: Uint8Array, engine?: Uint8Array): Promise<string> =>
        ask(
          transport,
          C.newService,
          nest(SERVICE, ...WEB, name, ...SETTINGS.slice(1), ...(engine ? [engine] : [])),
        )
      expect(await add(bytes(6, 'rr'))).toBe('EINVAL')
      expect(await add(bytes(6, ''))).toBe('EINVAL')
      expect(await add(bytes(6, 'rr\0and more of i'))).toBe('EINVAL')
      expect(await add(text(6, 'sixteen-letters.'))).toBe('EINVAL')
      expect(await add(text(6, 'rr'), text(11, 'seventeen-letters'))).toBe('EINVAL')
      expect(await add(text(6, 'rr'), bytes(11, 'sip'))).toBe('EINVAL')
      expect(await add(bytes(6, 'rr\0and more'), bytes(11, 'sip\0more'))).toBe('ok')
      const read = await ask(transport, C.getService, web)
      expect(read).toContain(' 6:727200 11:73697000 ')
    },
  },

  // Services

  {
    title: 'a service needs its family and either a mark or protocol, address and port: EINVAL',
    run: async ({ transport }) => {
      for (const command of [
        C.newService,
        C.setService,
        C.deleteService,
        C.getService,
        C.newDest,
        C.deleteDest,
      ]) {
        expect(await ask(transport, command)).toBe('EINVAL')
        expect(await ask(transport, command, attribute(SERVICE, new Uint8Array(0)))).toBe('EINVAL')
        for (const index of WEB.keys()) {
          expect(await ask(transport, command, nest(SERVICE, ...without(WEB, index), ...SETTINGS))).toBe(
            'EINVAL',
          )
        }
        expect(await ask(transport, command, nest(SERVICE, u32(5, 1), ...SETTINGS))).toBe('EINVAL')
        const short = attribute(1, Uint8Array.of(2))
        expect(await ask(transport, command, nest(SERVICE, short, ...WEB.slice(1)))).toBe('EINVAL')
      }
      // ZERO without a service is for all, with an empty one for none.
      expect(await ask(transport, C.zero)).toBe('ok')
      expect(await ask(transport, C.zero, attribute(SERVICE, new Uint8Array(0)))).toBe('EINVAL')
    },
  },
  {
    title: 'a family other than IPv4 and IPv6 is EAFNOSUPPORT, before settings are looked at',
    run: async ({ transport }) => {
      for (const family of [0, 1, 3, 9, 11, 65535]) {
        for (const command of [C.newService, C.getService, C.zero, C.newDest]) {
          expect(await ask(transport, command, nest(SERVICE, u16(1, family), ...WEB.slice(1)))).toBe(
            'EAFNOSUPPORT',
          )
        }
      }
    },
  },
  {
    title:
      'a new or changed service needs scheduler, flags, timeout and netmask: EINVAL before ESRCH and EEXIST',
    run: async (kernel) => {
      const { transport } = kernel
      for (let round = 0; round < 2; round++) {
        for (const command of [C.newService, C.setService]) {
          for (const index of SETTINGS.keys()) {
            const request = nest(SERVICE, ...WEB, ...without(SETTINGS, index))
            expect(await ask(transport, command, request)).toBe('EINVAL')
          }
        }
        if (round === 0) await addWeb(kernel)
      }
    },
  },
  {
    title:
      'a service that exists is EEXIST, one that does not is ESRCH, both before the scheduler is looked for',
    run: async (kernel) => {
      const { transport } = kernel
      await addWeb(kernel)
      const unknown = serviceSettings(0, 'nosuch')
      expect(await ask(transport, C.newService, nest(SERVICE, ...WEB, ...unknown))).toBe('EEXIST')
      expect(await ask(transport, C.setService, nest(SERVICE, ...OTHER, ...unknown))).toBe('ESRCH')
      for (const command of [C.deleteService, C.getService, C.zero]) {
        expect(await ask(transport, command, nest(SERVICE, ...OTHER))).toBe('ESRCH')
      }
    },
  },
  {
    title: 'an unknown scheduler or persistence engine is ENOENT, before an IPv6 prefix is EINVAL',
    run: async ({ transport }) => {
      const settings = (scheduler: string, prefix: number, engine = ''): Uint8Array =>
        nest(SERVICE, ...V6, text(6, scheduler), u32(7, 0, 0), u32(8, 0), u32(9, prefix), text(11, engine))
      for (let round = 0; round < 2; round++) {
        const command = round === 0 ? C.newService : C.setService
        expect(await ask(transport, command, settings('nosuch', 0))).toBe('ENOENT')
        expect(await ask(transport, command, settings('', 128))).toBe('ENOENT')
        expect(await ask(transport, command, settings('rr', 0, 'nosuch'))).toBe('ENOENT')
        for (const prefix of [0, 129, 0xffffffff]) {
          expect(await ask(transport, command, settings('rr', prefix))).toBe('EINVAL')
        }
        for (const prefix of [1, 64, 128]) {
          expect(await ask(transport, C.deleteService, nest(SERVICE, ...V6))).toBe(
            round === 0 && prefix === 1 ? 'ESRCH' : 'ok',
          )
          expect(await ask(transport, C.newService, settings('rr', prefix))).toBe('ok')
        }
      }
      expect(await ask(transport, C.getService, nest(SERVICE, ...V6))).toContain(' 9:80000000 ')
    },
  },
  {
    title: 'every IPv4 mask is kept',
    run: async (kernel) => {
      const { transport } = kernel
      await addWeb(kernel)
      for (const mask of [0, 0xff, 0x00ff00ff, 0xffffff, 0xffffffff]) {
        const request = nest(SERVICE, ...WEB, ...SETTINGS.slice(0, 3), u32(9, mask))
        expect(await ask(transport, C.setService, request)).toBe('ok')
        const bytes = Buffer.alloc(4)
        bytes.writeUInt32LE(mask)
        expect((await members(kernel, C.getService, web)).get('9')).toBe(bytes.toString('hex'))
      }
    },
  },
  {
    title: 'flags merge by their mask, and one bit is always set',
    run: async (kernel) => {
      const { transport } = kernel
      const flags = async (): Promise<string | undefined> =>
        (await members(kernel, C.getService, web)).get('7')
      const set = (command: number, ...values: readonly number[]): Promise<string> =>
        ask(transport, command, nest(SERVICE, ...WEB, text(6, 'rr'), u32(7, ...values), u32(8, 0), u32(9, 0)))
      expect(await set(C.newService, 5, 1)).toBe('ok')
      expect(await flags()).toBe('03000000ffffffff')
      expect(await set(C.setService, 4, 4)).toBe('ok')
      expect(await flags()).toBe('07000000ffffffff')
      expect(await set(C.setService, 0, 3)).toBe('ok')
      expect(await flags()).toBe('06000000ffffffff')
      expect(await set(C.setService, 0xffffffff, 0xffffff00)).toBe('ok')
      expect(await flags()).toBe('06ffffffffffffff')
      // Without a mask nothing changes.
      expect(await set(C.setService, 0)).toBe('ok')
      expect(await flags()).toBe('06ffffffffffffff')
      const nine = nest(SERVICE, ...WEB, text(6, 'rr'), u32(7, 0, 0, 0), u32(8, 0), u32(9, 0))
      expect(await ask(transport, C.setService, nine)).toBe('EINVAL')
    },
  },
  {
    title: 'the persistence timeout wraps at 2^32 ticks',
    run: async (kernel) => {
      const { transport, hz } = kernel
      await addWeb(kernel)
      for (const seconds of [0, 1, 300, 4294967, 50000000, 0xffffffff]) {
        const request = nest(SERVICE, ...WEB, text(6, 'rr'), u32(7, 1, 1), u32(8, seconds), u32(9, 0))
        expect(await ask(transport, C.setService, request)).toBe('ok')
        const expected = Buffer.alloc(4)
        expected.writeUInt32LE(Number(((BigInt(seconds) * BigInt(hz)) & 0xffffffffn) / BigInt(hz)))
        expect((await members(kernel, C.getService, web)).get('8')).toBe(expected.toString('hex'))
      }
    },
  },
  {
    title: 'an edit without the persistence engine drops it; one that fails changes nothing',
    run: async ({ transport }) => {
      const engine = (...more: readonly Uint8Array[]): Uint8Array =>
        nest(SERVICE, ...WEB, ...SETTINGS, ...more)
      expect(await ask(transport, C.newService, engine(text(11, 'sip')))).toBe('ok')
      const before = await ask(transport, C.getService, web)
      expect(before).toContain(' 11:73697000 ')
      const failing = nest(
        SERVICE,
        ...WEB,
        text(6, 'wrr'),
        u32(7, 9, 9),
        u32(8, 7),
        u32(9, 7),
        text(11, 'nosuch'),
      )
      expect(await ask(transport, C.setService, failing)).toBe('ENOENT')
      expect(await ask(transport, C.getService, web)).toBe(before)
      for (const more of [[], [text(11, '')]]) {
        expect(await ask(transport, C.setService, engine(text(11, 'sip')))).toBe('ok')
        expect(await ask(transport, C.setService, engine(...more))).toBe('ok')
        expect(await ask(transport, C.getService, web)).not.toContain(' 11:73697000 ')
      }
    },
  },
  {
    title: "a service without scheduler is 'none', and can get one and lose it",
    run: async (kernel) => {
      const { transport } = kernel
      const named = (name: string): Uint8Array => nest(SERVICE, ...WEB, ...serviceSettings(0, name))
      expect(await ask(transport, C.newService, named('none'))).toBe('ok')
      expect(await ask(transport, C.newDest, web, nest(DEST, ...SERVER))).toBe('ok')
      for (const name of ['mh', 'none', 'wlc']) {
        expect(await ask(transport, C.setService, named(name))).toBe('ok')
        const read = (await members(kernel, C.getService, web)).get('6') ?? ''
        expect(Buffer.from(read, 'hex').toString()).toBe(`${name}\0`)
      }
      expect(await ports(kernel)).toEqual(['0050'])
    },
  },
  {
    title: 'any protocol is a service of its own, any address will do',
    run: async ({ transport }) => {
      for (const protocol of [0, 1, 6, 17, 132, 255, 65535]) {
        for (const address of ['0.0.0.0', '224.0.0.1', '255.255.255.255']) {
          const key = [u16(1, 2), u16(2, protocol), ipv4(3, address), u16be(4, 0)]
          expect(await ask(transport, C.newService, nest(SERVICE, ...key, ...SETTINGS))).toBe('ok')
        }
      }
      expect(await list(transport, C.getService)).toHaveLength(21)
    },
  },
  {
    title: 'a firewall mark wins over an address, and is a service of each family',
    run: async ({ transport }) => {
      const mark = (family: number, ...more: readonly Uint8Array[]): Uint8Array =>
        nest(SERVICE, u16(1, family), u32(5, 7), ...more)
      expect(await ask(transport, C.newService, mark(2, ...WEB.slice(1), ...SETTINGS))).toBe('ok')
      expect(await ask(transport, C.getService, web)).toBe('ESRCH')
      expect(await ask(transport, C.newService, mark(2, ...SETTINGS))).toBe('EEXIST')
      expect(await ask(transport, C.newService, mark(10, ...SETTINGS.slice(0, 3), u32(9, 128)))).toBe('ok')
      const lines = await list(transport, C.getService)
      expect(lines.map((line) => line.slice(0, 51))).toEqual([
        'flags 2 command 1 version 1: 1:{ 1:0a00 5:07000000 ',
        'flags 2 command 1 version 1: 1:{ 1:0200 5:07000000 ',
      ])
    },
  },
  {
    title: 'mark 0 is the service of protocol TCP, address 0 and port 0',
    run: async ({ transport }) => {
      const zero = nest(SERVICE, u16(1, 2), u32(5, 0), ...SETTINGS)
      expect(await ask(transport, C.newService, zero)).toBe('ok')
      const same = nest(SERVICE, u16(1, 2), u16(2, 6), ipv4(3, '0.0.0.0'), u16be(4, 0))
      expect(await ask(transport, C.getService, same)).toContain(`3:${'00'.repeat(16)} 4:0000`)
    },
  },
  {
    title:
      'services are listed by the bucket of their address and port, those of one bucket newest first, marks last',
    run: async ({ transport, hashSeed }) => {
      const bucket = (host: number, port: number): number =>
        (6 ^ (0x0a000000 + host) ^ (port >> 8) ^ port ^ hashSeed) & 255
      const added: { readonly host: number; readonly port: number; readonly nth: number }[] = []
      for (let nth = 0; nth < 60; nth++) {
        const host = (nth * 7) % 40
        const port = 80 + ((nth * 513) % 1027)
        added.unshift({ host, port, nth })
        expect(
          await ask(
            transport,
            C.newService,
            nest(SERVICE, ...identity(`10.0.0.${String(host)}`, port), ...SETTINGS),
          ),
        ).toBe('ok')
      }
      for (const mark of [3, 259, 515]) {
        expect(await ask(transport, C.newService, nest(SERVICE, u16(1, 2), u32(5, mark), ...SETTINGS))).toBe(
          'ok',
        )
      }
      const expected = added
        .map((one, age) => ({ ...one, age, bucket: bucket(one.host, one.port) }))
        .sort((one, other) => one.bucket - other.bucket || one.age - other.age)
        .map(
          ({ host, port }) =>
            `0a0000${host.toString(16).padStart(2, '0')} ${port.toString(16).padStart(4, '0')}`,
        )
      const read = (await list(transport, C.getService)).map((line) => {
        const mark = / 1:0200 5:(\w+) 6:/.exec(line)?.[1]
        const [, address = '', port = ''] = / 3:(\w{8})\w* 4:(\w+)/.exec(line) ?? []
        return mark ?? `${address} ${port}`
      })
      expect(read).toEqual([...expected, '03020000', '03010000', '03000000'])
    },
  },
  {
    title: 'the dump of services filters nothing',
    run: async (kernel) => {
      await addWeb(kernel)
      expect(await list(kernel.transport, C.getService, nest(SERVICE, ...OTHER))).toHaveLength(1)
      expect(await list(kernel.transport, C.getService, attribute(4, new Uint8Array(1)))).toHaveLength(1)
    },
  },

  // Real servers

  {
    title: 'a missing service is ESRCH before the real server is looked at',
    run: async ({ transport }) => {
      for (const command of [C.newDest, C.setDest, C.deleteDest]) {
        expect(await ask(transport, command, web)).toBe('ESRCH')
        expect(await ask(transport, command, web, nest(DEST, u32(4, 0x80000000)))).toBe('ESRCH')
      }
    },
  },
  {
    title: 'a real server needs address and port, a new or changed one all settings: EINVAL',
    run: async (kernel) => {
      const { transport } = kernel
      await addWeb(kernel)
      for (const command of [C.newDest, C.setDest, C.deleteDest]) {
        expect(await ask(transport, command, web)).toBe('EINVAL')
        expect(await ask(transport, command, web, attribute(DEST, new Uint8Array(0)))).toBe('EINVAL')
        for (const index of SERVER.keys()) {
          const expected = command === C.deleteDest && index > 1 ? 'ENOENT' : 'EINVAL'
          expect(await ask(transport, command, web, nest(DEST, ...without(SERVER, index)))).toBe(expected)
        }
        const short = nest(DEST, ...SERVER, attribute(13, new Uint8Array(0)))
        expect(await ask(transport, command, web, short)).toBe('EINVAL')
      }
    },
  },
  {
    title: 'the checks of a real server come in the order of the kernel',
    run: async (kernel) => {
      const { transport, version } = kernel
      await addWeb(kernel)
      const add = (...more: readonly Uint8Array[]): Promise<string> =>
        ask(transport, C.newDest, web, nest(DEST, ...SERVER, ...more))
      // Each request has all the mistakes that come later.
      const address = ipv4(1, '224.0.0.1')
      const gue = [u8(13, 1), u16be(14, 0)]
      const thresholds = [u32(5, 0), u32(6, 1)]
      const weight = u32(4, 0x80000000)
      expect(await add(u16(11, 3), weight, ...thresholds, ...gue, address)).toBe('EAFNOSUPPORT')
      expect(await add(u16(11, 10), u32(3, 0), weight, ...thresholds, ...gue, address)).toBe('EINVAL')
      expect(await add(weight, ...thresholds, ...gue, address)).toBe('ERANGE')
      expect(await add(...thresholds, ...gue, address)).toBe('ERANGE')
      const wide = await add(u32(5, 0x80000000))
      expect(wide).toBe(version === '6.1' ? 'ok' : 'EINVAL')
      if (wide === 'ok') expect(await ask(transport, C.deleteDest, web, nest(DEST, ...SERVER))).toBe('ok')
      expect(await add(...gue, address)).toBe('EINVAL')
      expect(await add()).toBe('ok')
      expect(await add(...gue)).toBe('EINVAL')
      expect(await add()).toBe('EEXIST')
      expect(await add(address)).toBe('EINVAL')
      const set = (...more: readonly Uint8Array[]): Promise<string> =>
        ask(transport, C.setDest, web, nest(DEST, ...SERVER, ...more))
      expect(await set(u16be(2, 81), weight)).toBe('ERANGE')
      expect(await set(u16be(2, 81), ...gue)).toBe('EINVAL')
      expect(await set(u16be(2, 81))).toBe('ENOENT')
    },
  },
  {
    title: 'an address that is not unicast is EINVAL',
    run: async (kernel) => {
      const { transport } = kernel
      await addWeb(kernel)
      const add = (address: string): Promise<string> =>
        ask(transport, C.newDest, web, nest(DEST, ...destSettings({ address })))
      for (const address of [
        ...['0.0.0.0', '255.255.255.255', '224.0.0.0', '239.255.255.255', '127.255.255.255', '10.9.9.255'],
      ]) {
        expect(await add(address), address).toBe('EINVAL')
      }
      for (const address of [
        ...[
          '0.1.2.3',
          '240.0.0.1',
          '127.0.0.0',
          '127.0.0.1',
          '127.1.2.3',
          '10.9.9.0',
          '10.9.9.1',
          '10.9.8.255',
        ],
        '192.0.2.255',
      ]) {
        expect(await add(address), address).toBe('ok')
      }
      expect(
        await ask(transport, C.newService, nest(SERVICE, ...V6, ...SETTINGS.slice(0, 3), u32(9, 128))),
      ).toBe('ok')
      const addV6 = (...groups: readonly number[]): Promise<string> =>
        ask(transport, C.newDest, nest(SERVICE, ...V6), nest(DEST, ...SERVER, ipv6(1, ...groups)))
      const last = (...groups: readonly number[]): number[] => [0, 0, 0, 0, 0, ...groups]
      for (const groups of [
        [0],
        [0xff02, 1],
        last(0xffff, 0x0a00, 1),
        [0xfe80, 0, 0, 0, 0, 0, 0, 1],
        [0xfebf],
      ]) {
        expect(await addV6(...groups), groups.join(' ')).toBe('EINVAL')
      }
      for (const groups of [
        last(0, 0, 1),
        last(0, 0x0a00, 1),
        last(0xfffe, 0, 1),
        [0xfec0],
        [0xfd00],
        [0x2001, 0xdb8],
        [0x64, 0xff9b],
      ]) {
        expect(await addV6(...groups), groups.join(' ')).toBe('ok')
      }
    },
  },
  {
    title: 'real servers are listed newest first, an edit keeps the place, deleting and adding does not',
    run: async (kernel) => {
      const { transport } = kernel
      await addWeb(kernel)
      const dest = (port: number, weight = 1): Uint8Array => nest(DEST, ...destSettings({ port, weight }))
      for (const port of [1, 2, 3]) expect(await ask(transport, C.newDest, web, dest(port))).toBe('ok')
      expect(await ports(kernel)).toEqual(['0003', '0002', '0001'])
      expect(await ask(transport, C.setDest, web, dest(1, 9))).toBe('ok')
      expect(await ports(kernel)).toEqual(['0003', '0002', '0001'])
      expect(await ask(transport, C.deleteDest, web, dest(1))).toBe('ok')
      expect(await ports(kernel)).toEqual(['0003', '0002'])
      expect(await ask(transport, C.newDest, web, dest(1, 4))).toBe('ok')
      expect(await ports(kernel)).toEqual(['0001', '0003', '0002'])
    },
  },
  {
    title: 'the forwarding method has three bits, tunnels are kept for every method and reset by an edit',
    run: async (kernel) => {
      const { transport } = kernel
      await addWeb(kernel)
      const dest = (method: number, ...more: readonly Uint8Array[]): Uint8Array =>
        nest(DEST, ...SERVER, u32(3, method), ...more)
      const read = async (): Promise<(string | undefined)[]> => {
        const found = await members(kernel, C.getDest, web)
        return ['3', '13', '14', '15'].map((type) => found.get(type))
      }
      expect(
        await ask(transport, C.newDest, web, dest(0xfffffff5, u8(13, 200), u16be(14, 258), u16(15, 772))),
      ).toBe('ok')
      expect(await read()).toEqual(['05000000', 'c8', '0102', '0403'])
      for (const method of [0, 1, 2, 3, 4, 5, 6, 7]) {
        expect(await ask(transport, C.setDest, web, dest(method))).toBe('ok')
        expect(await read()).toEqual([`0${String(method)}000000`, '00', '0000', '0000'])
      }
    },
  },
  {
    title: 'another family needs a tunnel, its name to be deleted, and no sync daemon',
    run: async (kernel) => {
      const { transport } = kernel
      await addWeb(kernel)
      await addMixed(kernel)
      const address = ipv6(1, 0x2001, 0xdb8, 0, 0, 0, 0, 0, 9)
      expect(await ask(transport, C.deleteDest, web, nest(DEST, address, u16be(2, 80)))).toBe('ENOENT')
      expect(await ask(transport, C.newDaemon, daemon(1))).toBe('EINVAL')
      const named = nest(DEST, address, u16be(2, 80), u16(11, 10))
      expect(await ask(transport, C.deleteDest, web, named)).toBe('ok')
      // Without its family it is an IPv4 address: the first four bytes.
      const unnamed = nest(DEST, address, ...SERVER.slice(1))
      expect(await ask(transport, C.newDest, web, unnamed)).toBe('ok')
      expect((await members(kernel, C.getDest, web)).get('1')).toBe(`20010db8${'00'.repeat(12)}`)
      expect(await ask(transport, C.newDaemon, daemon(1))).toBe('ok')
      const tunnel = nest(DEST, address, u16be(2, 80), u32(3, 2), ...SERVER.slice(3), u16(11, 10))
      expect(await ask(transport, C.newDest, web, tunnel)).toBe('EINVAL')
    },
  },
  {
    title: 'family 0 of a real server is that of its service',
    run: async (kernel) => {
      const { transport } = kernel
      await addWeb(kernel)
      expect(await ask(transport, C.newDest, web, nest(DEST, ...SERVER, u16(11, 0)))).toBe('ok')
      expect((await members(kernel, C.getDest, web)).get('11')).toBe('0200')
    },
  },
  {
    title: 'the dump of the real servers of no service is empty, whatever is wrong with it',
    run: async (kernel) => {
      const { transport } = kernel
      await addWeb(kernel)
      expect(await ask(transport, C.newDest, web, nest(DEST, ...SERVER))).toBe('ok')
      for (const request of [
        [],
        [nest(SERVICE, ...OTHER)],
        [nest(SERVICE, ...WEB.slice(1))],
        [nest(SERVICE, u16(1, 3), ...WEB.slice(1))],
        [attribute(SERVICE, new Uint8Array(2))],
      ]) {
        expect(await list(transport, C.getDest, ...request)).toEqual([])
      }
      expect(await list(transport, C.getDest, web)).toHaveLength(1)
    },
  },
  {
    title: 'deleting a service deletes its real servers, flush all services; timeouts stay',
    run: async (kernel) => {
      const { transport } = kernel
      await addWeb(kernel)
      expect(await ask(transport, C.newDest, web, nest(DEST, ...SERVER))).toBe('ok')
      expect(await ask(transport, C.deleteService, web)).toBe('ok')
      expect(await ask(transport, C.deleteService, web)).toBe('ESRCH')
      await addWeb(kernel)
      expect(await ports(kernel)).toEqual([])
      expect(await ask(transport, C.setConfig, u32(4, 77))).toBe('ok')
      expect(await ask(transport, C.flush)).toBe('ok')
      expect(await list(transport, C.getService)).toEqual([])
      expect(await ask(transport, C.flush)).toBe('ok')
      expect(await ask(transport, C.getConfig)).toContain(' 4:4d000000 ')
    },
  },

  // Timeouts and sync daemons

  {
    title: 'timeouts are set one by one, 0 keeps, and one that is too large sets none',
    run: async ({ transport, hz }) => {
      const read = async (): Promise<string | undefined> => (await ask(transport, C.getConfig)).split(': ')[1]
      const most = Math.floor(0x7fffffff / hz)
      expect(await read()).toBe('4:84030000 5:78000000 6:2c010000')
      expect(await ask(transport, C.setConfig)).toBe('ok')
      expect(await ask(transport, C.setConfig, u32(4, 0), u32(5, 7), u32(6, 0))).toBe('ok')
      expect(await read()).toBe('4:84030000 5:07000000 6:2c010000')
      for (const wrong of [most + 1, 0x7fffffff, 0x80000000, 0xffffffff]) {
        expect(await ask(transport, C.setConfig, u32(4, 5), u32(6, wrong))).toBe('EINVAL')
      }
      expect(await read()).toBe('4:84030000 5:07000000 6:2c010000')
      expect(await ask(transport, C.setConfig, u32(4, most), u32(5, most), u32(6, most))).toBe('ok')
    },
  },
  {
    title: 'info is version 1.2.1 and the size of the connection table',
    run: async ({ transport, ipvs }) => {
      expect(await ask(transport, C.getInfo)).toBe('flags 0 command 14 version 1: 1:01020100 2:00100000')
      expect(await ipvs.info()).toEqual({ version: '1.2.1', connectionTableSize: 4096 })
    },
  },
  {
    title: 'the checks of a sync daemon come in the order of the kernel',
    run: async (kernel) => {
      const { transport } = kernel
      const start = (...wanted: readonly Uint8Array[]): Promise<string> =>
        ask(transport, C.newDaemon, nest(DAEMON, ...wanted))
      expect(await ask(transport, C.newDaemon)).toBe('EINVAL')
      expect(await start()).toBe('EINVAL')
      const needed = [u32(1, 1), text(2, 'nosuch'), u32(3, 0)]
      for (const index of needed.keys()) expect(await start(...without(needed, index))).toBe('EINVAL')
      const refused = 'EINVAL (Attribute failed policy validation)'
      expect(await start(attribute(1, Uint8Array.of(1)))).toBe(refused)
      expect(await start(...needed, attribute(6, new Uint8Array(15)))).toBe(refused)
      expect(await start(text(2, 'sixteen-letters.'))).toBe(refused)
      await addWeb(kernel)
      await addMixed(kernel)
      // Each request has all the mistakes that come later.
      expect(await start(u32(1, 3), ...needed.slice(1), attribute(5, Uint8Array.of(10, 0, 0, 1)))).toBe(
        'EINVAL',
      )
      expect(await start(...needed, ipv6(6, 0x2001))).toBe('EINVAL')
      expect(await start(...needed)).toBe('EINVAL')
      expect(await ask(transport, C.deleteService, web)).toBe('ok')
      expect(await start(...needed)).toBe('ENODEV')
      expect(await start(u32(1, 3), ...needed.slice(1))).toBe('ENODEV')
      expect(await ask(transport, C.newDaemon, daemon(1))).toBe('ok')
      expect(await start(...needed)).toBe('ENODEV')
      expect(await ask(transport, C.newDaemon, daemon(1))).toBe('EEXIST')
      for (const state of [0, 3, 4]) expect(await ask(transport, C.newDaemon, daemon(state))).toBe('EINVAL')
      expect(await ask(transport, C.newDaemon, daemon(2))).toBe('ok')
      expect(await ask(transport, C.deleteDaemon)).toBe('EINVAL')
      expect(await ask(transport, C.deleteDaemon, nest(DAEMON, text(2, 'd0')))).toBe('EINVAL')
      for (const state of [0, 3]) {
        expect(await ask(transport, C.deleteDaemon, nest(DAEMON, u32(1, state)))).toBe('EINVAL')
      }
      for (const state of [2, 1]) {
        const other = nest(DAEMON, u32(1, state), text(2, 'nosuch'), u32(3, 99))
        expect(await ask(transport, C.deleteDaemon, other)).toBe('ok')
        expect(await ask(transport, C.deleteDaemon, other)).toBe('ESRCH')
      }
    },
  },
  {
    title: 'what a sync daemon was not told is filled in, and its length kept in bounds',
    run: async (kernel) => {
      const { transport } = kernel
      const group6 = ipv6(6, 0xff02, 0, 0, 0, 0, 0, 0, 0x51)
      const wanted: readonly (readonly [Uint8Array, Uint8Array, string])[] = [
        [daemon(1), daemon(2), '4:c005 7:9022 8:01 5:e0000051|4:c005 7:9022 8:01 5:e0000051'],
        [
          daemon(1, u16(4, 0), u16(7, 0), u8(8, 0), attribute(5, Uint8Array.of(239, 1, 2, 3))),
          daemon(2, u16(4, 1), u16(7, 9000), u8(8, 255), group6),
          `4:c005 7:9022 8:01 5:ef010203|4:0004 7:2823 8:ff 6:ff02${'0'.repeat(24)}0051`,
        ],
        [
          daemon(1, u16(4, 1), group6, attribute(5, Uint8Array.of(224, 0, 0, 9))),
          daemon(2, u16(4, 65535), group6),
          `4:0100 7:9022 8:01 5:e0000009|4:cfff 7:9022 8:01 6:ff02${'0'.repeat(24)}0051`,
        ],
        [
          daemon(1, u16(4, 65535), group6),
          nest(DAEMON, u32(1, 2), text(2, 'lo'), u32(3, 0xffffffff)),
          `4:cfff 7:9022 8:01 6:ff02${'0'.repeat(24)}0051|4:e3ff 7:9022 8:01 5:e0000051`,
        ],
      ]
      for (const [master, backup, expected] of wanted) {
        expect(await ask(transport, C.newDaemon, backup)).toBe('ok')
        expect(await ask(transport, C.newDaemon, master)).toBe('ok')
        const lines = await list(transport, C.getDaemon)
        expect(lines.map((line) => / (4:.*) \}$/.exec(line)?.[1]).join('|')).toBe(expected)
        for (const state of [1, 2]) {
          expect(await ask(transport, C.deleteDaemon, nest(DAEMON, u32(1, state)))).toBe('ok')
        }
      }
    },
  },

  {
    title: 'a master does not reach an IPv6 group through lo, a backup does: ENETUNREACH',
    run: async (kernel) => {
      const { transport } = kernel
      const group = ipv6(6, 0xff02, 0, 0, 0, 0, 0, 0, 0x51)
      const on = (state: number): Uint8Array => nest(DAEMON, u32(1, state), text(2, 'lo'), u32(3, 0), group)
      expect(await ask(transport, C.newDaemon, on(1))).toBe('ENETUNREACH')
      expect(await list(transport, C.getDaemon)).toEqual([])
      expect(await ask(transport, C.newDaemon, on(2))).toBe('ok')
    },
  },
  {
    title: 'bytes that are no attribute are remarked upon beside whatever errno there is',
    run: async (kernel) => {
      const { transport } = kernel
      const rest = Uint8Array.of(0)
      const remark = '(bytes leftover after parsing attributes)'
      expect(await ask(transport, C.newService, rest)).toBe(`EINVAL ${remark}`)
      expect(await ask(transport, C.getService, web, rest)).toBe(`ESRCH ${remark}`)
      // Inside a service nothing is said; inside a daemon it is.
      expect(await ask(transport, C.getService, nest(SERVICE, ...WEB, rest))).toBe('ESRCH')
      expect(await ask(transport, C.deleteDaemon, nest(DAEMON, u32(1, 1), rest))).toBe(`ESRCH ${remark}`)
    },
  },

  // Through the library

  {
    title: 'a table that the library adds reads back equal, in order',
    run: async ({ ipvs }) => {
      const service = await ipvs.addService({
        protocol: 'udp',
        address: '2001:db8::1',
        port: 53,
        scheduler: 'sh',
      })
      await service.addRealServer({
        address: '10.0.0.3',
        method: 'tunnel',
        tunnel: { type: 'gue', port: 6080 },
      })
      await service.addRealServer({ address: '2001:db8::3', port: 54, method: 'masquerade', weight: 0 })
      await service.edit({ persistence: { timeoutSeconds: 60, netmask: 64 }, schedulerFlags: ['sh-port'] })
      const mark = await ipvs.addService({ protocol: 'fwmark', fwmark: 9, persistence: {} })
      await mark.addRealServer({ address: '10.0.0.4', upperThreshold: 9, lowerThreshold: 3 })
      expect(JSON.parse(JSON.stringify(await ipvs.snapshot()))).toMatchObject([
        {
          service: { address: '2001:db8::1', schedulerFlags: ['sh-port'], persistence: { netmask: 64 } },
          realServers: [
            { address: '2001:db8::3', port: 54, weight: 0 },
            { address: '10.0.0.3', port: 53, tunnel: { type: 'gue', port: 6080 } },
          ],
        },
        {
          service: { fwmark: 9, persistence: { timeoutSeconds: 300, netmask: '255.255.255.255' } },
          realServers: [{ address: '10.0.0.4', port: 0, upperThreshold: 9, lowerThreshold: 3 }],
        },
      ])
    },
  },
  {
    title: 'a service that is not there has no empty list of real servers: ESRCH',
    run: async ({ ipvs }) => {
      const key = { protocol: 'tcp', address: '10.0.0.1', port: 80 } as const
      await expect(ipvs.realServers(key)).rejects.toMatchObject({ code: 'ESRCH', command: 'realServers' })
      await ipvs.addService(key)
      expect(await ipvs.realServers(key)).toEqual([])
    },
  },
  {
    title: 'a batch goes on after a request that fails, in order',
    run: async ({ ipvs }) => {
      const key = { protocol: 'tcp', address: '10.0.0.1', port: 80 } as const
      const outcomes = await Promise.allSettled([
        ipvs.addService(key),
        ipvs.addService(key),
        ipvs.addRealServer(key, { address: '10.0.0.3' }),
        ipvs.deleteRealServer(key, { address: '10.0.0.4' }),
        ipvs.deleteService(key),
        ipvs.deleteService(key),
      ])
      const codes = outcomes.map((outcome) =>
        outcome.status === 'rejected' ? (outcome.reason as { code: string }).code : 'ok',
      )
      expect(codes).toEqual(['ok', 'EEXIST', 'ok', 'ENOENT', 'ok', 'ESRCH'])
    },
  },
]
