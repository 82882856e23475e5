import type { SyncDaemonSpec } from '../../lib/index.ts'
import type { Netns } from '../helpers/kernel.ts'
import { until } from '../helpers/until.ts'

/** What tests of two directors share. */

/** What a director has learned from others: whose connections, by the client's port; 0 is a template. */
export async function learned(director: Netns): Promise<number[]> {
  const lines = (await director.read('/proc/net/ip_vs_conn_sync')).split('\n')
  return lines.flatMap((line) => {
    const [, , port = '', , , , , , origin] = line.split(/ +/)
    return origin === 'SYNC' ? [parseInt(port, 16)] : []
  })
}

/** Waits until a director knows the connection from this port of a client, or the first template. */
export async function untilLearned(director: Netns, port: number): Promise<void> {
  await until(`a director has learned of port ${String(port)}`, async () =>
    (await learned(director)).includes(port),
  )
}

/** Both roles on each director: whichever is asked sends, and the other knows. */
export async function startBoth(
  directors: readonly Netns[],
  settings: Partial<SyncDaemonSpec> = {},
): Promise<void> {
  for (const { ipvs } of directors) {
    for (const state of ['backup', 'master'] as const)
      await ipvs.startSyncDaemon({ state, multicastInterface: 'eth0', syncId: 51, ...settings })
  }
}

/** A virtual address, and the interface that has it. */
export type Held = readonly [address: string, name: string]

/** Commands that give up addresses. */
export function release(...held: readonly Held[]): string[] {
  return held.map(([address, name]) => `ip address del ${prefixed(address)} dev ${name}`)
}

/** Commands that take addresses. */
export function take(...held: readonly Held[]): string[] {
  return held.map(([address, name]) => `ip address add ${prefixed(address)} dev ${name}`)
}

/**
 * Commands that say where addresses are now: gratuitous ARP. For IPv6 the kernel says so itself, with
 * ndisc_notify, once it has seen that the address is nobody else's.
 */
export function announce(...held: readonly Held[]): string[] {
  return held.flatMap(([address, name]) =>
    address.includes(':') ? [] : [`busybox arping -q -U -c 1 -I ${name} ${address}`],
  )
}

function prefixed(address: string): string {
  return `${address}/${address.includes(':') ? '128' : '32'}`
}
