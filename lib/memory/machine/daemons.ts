import { AddressFamily, DaemonState } from '../../model/constants.ts'
import { Errno } from '../../model/errno.ts'
import type { MemoryInterface } from './machine.ts'
import { refuse } from './refusal.ts'

/** A running sync daemon. */
export interface Daemon {
  readonly state: number
  readonly interfaceName: string
  readonly syncId: number
  readonly maxLengthBytes: number
  readonly port: number
  readonly ttl: number
  readonly family: number
  /** 16 bytes, of which IPv4 has the first four. */
  readonly group: Uint8Array
}

/** The requested settings of a daemon: 0 is the default, no group is 224.0.0.81. */
export type DaemonRequest = Omit<Daemon, 'family' | 'group'> & Partial<Pick<Daemon, 'family' | 'group'>>

const DEFAULT_GROUP = Uint8Array.of(224, 0, 0, 81, ...new Uint8Array(12))
const DEFAULT_PORT = 8848
const DEFAULT_TTL = 1
/** Headers of IP and UDP in front of a message. */
const HEADERS_IPV4 = 28
const HEADERS_IPV6 = 48
const MASTER_MTU = 1500
const BACKUP_LEAST = 1024

/** The sync daemons of one namespace: one master and one backup at most. */
export class Daemons {
  #master: Daemon | undefined
  #backup: Daemon | undefined

  /** The master first. */
  get running(): readonly Daemon[] {
    return [this.#master, this.#backup].filter((daemon) => daemon !== undefined)
  }

  /** In the kernel's order of checks (start_sync_thread()). */
  start(request: DaemonRequest, interfaces: readonly MemoryInterface[]): void {
    const device = interfaces.find(({ name }) => name === request.interfaceName)
    if (device === undefined) refuse(Errno.ENODEV)
    const { state, family = AddressFamily.INET, group = DEFAULT_GROUP } = request
    if (this.running.some((daemon) => daemon.state === state)) refuse(Errno.EEXIST)
    if (state !== DaemonState.MASTER && state !== DaemonState.BACKUP) refuse(Errno.EINVAL)
    // A socket connects only where the interface is up; it joins a group anywhere.
    // The loopback interface has no route to IPv6 groups.
    const reached = device.up !== false && !(device.name === 'lo' && family === AddressFamily.INET6)
    if (state === DaemonState.MASTER && !reached) refuse(Errno.ENETUNREACH)
    const daemon: Daemon = {
      ...request,
      family,
      group,
      maxLengthBytes: lengthOf(state, request.maxLengthBytes, device.mtuBytes ?? 1500, family),
      port: request.port || DEFAULT_PORT,
      ttl: request.ttl || DEFAULT_TTL,
    }
    if (state === DaemonState.MASTER) this.#master = daemon
    else this.#backup = daemon
  }

  stop(state: number): void {
    if (state !== DaemonState.MASTER && state !== DaemonState.BACKUP) refuse(Errno.EINVAL)
    if (!this.running.some((daemon) => daemon.state === state)) refuse(Errno.ESRCH)
    if (state === DaemonState.MASTER) this.#master = undefined
    else this.#backup = undefined
  }
}

/** The length of a daemon's messages: the requested one within bounds, or the largest for the interface. */
function lengthOf(state: number, asked: number, mtu: number, family: number): number {
  const headers = family === AddressFamily.INET6 ? HEADERS_IPV6 : HEADERS_IPV4
  const backup = state === DaemonState.BACKUP
  if (asked === 0) return (backup ? Math.min(Math.max(mtu, 1500), 65535) : MASTER_MTU) - headers
  return Math.min(Math.max(asked, backup ? BACKUP_LEAST : 1), 65535 - headers)
}
