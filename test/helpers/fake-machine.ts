import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { afterEach, vi } from 'vitest'

/** A machine whose programs are scripts of a test: what `ip` and the others print, and do. */
export interface FakeMachine {
  /** Lines of JSON, as `ip -j` prints them: of addresses, of routes, of neighbours, then a route for each address. */
  readonly ip?: readonly unknown[]
  /** By name: `net.ipv4.ip_forward`. */
  readonly sysctls?: Readonly<Record<string, string>>
  /** Lines of shell in place of a program. Default: there is no firewall. */
  readonly programs?: Readonly<Record<string, string>>
}

/** A machine with one card, and the virtual address on lo: a real server, as it should be. */
export const ADDRESSES = [
  {
    ...{ ifname: 'lo', flags: ['LOOPBACK', 'UP', 'LOWER_UP'], mtu: 65536 },
    addr_info: [
      { family: 'inet', local: '127.0.0.1', prefixlen: 8 },
      { family: 'inet', local: '192.0.2.10', prefixlen: 32 },
    ],
  },
  {
    ...{ ifname: 'eth0', flags: ['BROADCAST', 'MULTICAST', 'UP', 'LOWER_UP'], mtu: 1500 },
    addr_info: [{ family: 'inet', local: '192.0.2.11', prefixlen: 24 }],
  },
]
export const ROUTES = [
  { type: 'unicast', dst: 'default', gateway: '192.0.2.254', dev: 'eth0', table: 'main', flags: [] },
  { type: 'unicast', dst: '192.0.2.0/24', dev: 'eth0', flags: [] },
  { type: 'unicast', dst: 'default', gateway: '2001:db8::254', dev: 'eth0', flags: [], pref: 'medium' },
]
export const SILENT = {
  'net.ipv4.conf.all.arp_ignore': '1',
  'net.ipv4.conf.all.arp_announce': '2',
}

const folders: string[] = []

/** Whose programs are those of the system again. */
export function leaveMachine(): void {
  if (folders.length === 0) return
  vi.unstubAllEnvs()
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true })
}

afterEach(leaveMachine)

/** Until the end of the test, programs are those of this machine. Gives their folder. */
export function onMachine({
  ip = [ADDRESSES, ROUTES, []],
  sysctls = SILENT,
  programs = {},
}: FakeMachine = {}): string {
  const folder = mkdtempSync(join(tmpdir(), 'ipvs-machine-'))
  folders.push(folder)
  const files = Object.entries(sysctls).map(
    ([name, value]) => `/proc/sys/${name.replaceAll('.', '/').replaceAll('%', '.')}:${value}`,
  )
  writeFileSync(join(folder, 'ip.txt'), ip.map((one) => `${JSON.stringify(one)}\n`).join(''))
  writeFileSync(
    join(folder, 'files.txt'),
    `${['/proc/modules:ip_vs 200704 0 - Live 0x0', ...files].join('\n')}\n`,
  )
  const all = {
    ip: `cat >/dev/null; cat '${folder}/ip.txt'`,
    grep: `cat '${folder}/files.txt'`,
    ...Object.fromEntries(['nft', 'iptables-save', 'ip6tables-save'].map((name) => [name, 'exit 127'])),
    ...programs,
  }
  for (const [name, lines] of Object.entries(all)) {
    writeFileSync(join(folder, name), `#!/bin/sh\n${lines}\n`)
    chmodSync(join(folder, name), 0o755)
  }
  vi.stubEnv('PATH', `${folder}${delimiter}${process.env.PATH ?? ''}`)
  return folder
}
