import { AttributeWriter, littleEndianMachine } from '../../codec/attributes.ts'
import {
  AddressFamily,
  Command,
  CommandAttribute,
  DaemonAttribute,
  DestAttribute,
  InfoAttribute,
  ServiceAttribute,
  StatsAttribute,
} from '../../model/constants.ts'
import { IPV4_BYTES } from '../machine/addresses.ts'
import type { Counters } from '../machine/counters.ts'
import type { Daemon } from '../machine/daemons.ts'
import type { Dest, VirtualService } from '../machine/table.ts'
import type { ConnectionTimeouts } from '../machine/timeouts.ts'
import type { Feature } from '../machine/versions.ts'

/**
 * Writes the answers: whole messages, with the attributes in the kernel's order.
 */

/** The netlink type of IPVS: any number from 19 on would do. */
const FAMILY_TYPE = 0x22
const GENL_VERSION = 1
const NLM_F_MULTI = 2
const HEADERS = 20

/** IP_VS_VERSION_CODE: 1.2.1 */
const IPVS_VERSION = 0x010201

/** The statistics, in the order of their attribute numbers. */
const COUNTS = [
  [StatsAttribute.CONNS, 'connections'],
  [StatsAttribute.INPKTS, 'packetsIn'],
  [StatsAttribute.OUTPKTS, 'packetsOut'],
  [StatsAttribute.INBYTES, 'bytesIn'],
  [StatsAttribute.OUTBYTES, 'bytesOut'],
] as const

const RATES = [
  [StatsAttribute.CPS, 'connections'],
  [StatsAttribute.INPPS, 'packetsIn'],
  [StatsAttribute.OUTPPS, 'packetsOut'],
  [StatsAttribute.INBPS, 'bytesIn'],
  [StatsAttribute.OUTBPS, 'bytesOut'],
] as const

export class ReplyWriter {
  readonly #writer = new AttributeWriter()
  readonly #features: ReadonlySet<Feature>

  constructor(features: ReadonlySet<Feature>) {
    this.#features = features
  }

  service({ identity, settings, counters }: VirtualService, hz: number, dump: boolean): Uint8Array {
    const writer = this.#writer
    writer.nest(CommandAttribute.SERVICE, () => {
      writer.u16(ServiceAttribute.AF, identity.family)
      if (identity.fwmark !== 0) {
        writer.u32(ServiceAttribute.FWMARK, identity.fwmark)
      } else {
        writer.u16(ServiceAttribute.PROTOCOL, identity.protocol)
        writer.bytes(ServiceAttribute.ADDR, identity.address)
        writer.u16be(ServiceAttribute.PORT, identity.port)
      }
      writer.string(ServiceAttribute.SCHED_NAME, settings.scheduler)
      if (settings.persistenceEngine !== '') {
        writer.string(ServiceAttribute.PE_NAME, settings.persistenceEngine)
      }
      writer.u32pair(ServiceAttribute.FLAGS, settings.flags, 0xffffffff)
      writer.u32(ServiceAttribute.TIMEOUT, Math.floor(settings.timeoutTicks / hz))
      // A prefix length for IPv6, a mask in network order for IPv4.
      if (identity.family === AddressFamily.INET6) writer.u32(ServiceAttribute.NETMASK, settings.netmask)
      else writer.u32be(ServiceAttribute.NETMASK, settings.netmask)
      this.#statistics(ServiceAttribute.STATS, ServiceAttribute.STATS64, counters)
    })
    return this.#message(Command.NEW_SERVICE, dump)
  }

  dest({ identity, settings, counters, active, inactive, persistent }: Dest): Uint8Array {
    const writer = this.#writer
    writer.nest(CommandAttribute.DEST, () => {
      writer.bytes(DestAttribute.ADDR, identity.address)
      writer.u16be(DestAttribute.PORT, identity.port)
      writer.u32(DestAttribute.FWD_METHOD, settings.method)
      writer.u32(DestAttribute.WEIGHT, settings.weight)
      if (this.#features.has('tunnelTypes')) {
        writer.u8(DestAttribute.TUN_TYPE, settings.tunnelType)
        writer.u16be(DestAttribute.TUN_PORT, settings.tunnelPort)
      }
      if (this.#features.has('tunnelFlags')) writer.u16(DestAttribute.TUN_FLAGS, settings.tunnelFlags)
      writer.u32(DestAttribute.U_THRESH, settings.upperThreshold)
      writer.u32(DestAttribute.L_THRESH, settings.lowerThreshold)
      writer.u32(DestAttribute.ACTIVE_CONNS, active)
      writer.u32(DestAttribute.INACT_CONNS, inactive)
      writer.u32(DestAttribute.PERSIST_CONNS, persistent)
      if (this.#features.has('mixedFamilies')) writer.u16(DestAttribute.ADDR_FAMILY, identity.family)
      this.#statistics(DestAttribute.STATS, DestAttribute.STATS64, counters)
    })
    return this.#message(Command.NEW_DEST, true)
  }

  daemon(daemon: Daemon): Uint8Array {
    const writer = this.#writer
    writer.nest(CommandAttribute.DAEMON, () => {
      writer.u32(DaemonAttribute.STATE, daemon.state)
      writer.string(DaemonAttribute.MCAST_IFN, daemon.interfaceName)
      writer.u32(DaemonAttribute.SYNC_ID, daemon.syncId)
      if (!this.#features.has('daemonSettings')) return
      writer.u16(DaemonAttribute.SYNC_MAXLEN, daemon.maxLengthBytes)
      writer.u16(DaemonAttribute.MCAST_PORT, daemon.port)
      writer.u8(DaemonAttribute.MCAST_TTL, daemon.ttl)
      if (daemon.family === AddressFamily.INET6) writer.bytes(DaemonAttribute.MCAST_GROUP6, daemon.group)
      else writer.bytes(DaemonAttribute.MCAST_GROUP, daemon.group.subarray(0, IPV4_BYTES))
    })
    return this.#message(Command.NEW_DAEMON, true)
  }

  config({ tcp, tcpFin, udp }: ConnectionTimeouts): Uint8Array {
    this.#writer.u32(CommandAttribute.TIMEOUT_TCP, tcp)
    this.#writer.u32(CommandAttribute.TIMEOUT_TCP_FIN, tcpFin)
    this.#writer.u32(CommandAttribute.TIMEOUT_UDP, udp)
    return this.#message(Command.SET_CONFIG, false)
  }

  info(connectionTableSize: number): Uint8Array {
    this.#writer.u32(InfoAttribute.VERSION, IPVS_VERSION)
    this.#writer.u32(InfoAttribute.CONN_TAB_SIZE, connectionTableSize)
    return this.#message(Command.SET_INFO, false)
  }

  #statistics(narrow: number, wide: number, { counts, rates }: Counters): void {
    const writer = this.#writer
    const bytes = (name: string): boolean => name.startsWith('bytes')
    writer.nest(narrow, () => {
      for (const [type, name] of COUNTS) {
        if (bytes(name)) this.#long(type, counts[name])
        else writer.u32(type, counts[name] % 2 ** 32)
      }
      for (const [type, name] of RATES) writer.u32(type, rates[name] % 2 ** 32)
    })
    if (!this.#features.has('counters64')) return
    writer.nest(wide, () => {
      for (const [type, name] of COUNTS) this.#long(type, counts[name])
      for (const [type, name] of RATES) this.#long(type, rates[name])
    })
  }

  /** With padding, a 64-bit number starts at a multiple of 8 in the message (nla_align_64bit()). */
  #long(type: number, value: number): void {
    const writer = this.#writer
    const aligned = (HEADERS + writer.length) % 8 === 0
    if (aligned && this.#features.has('padding')) writer.bytes(StatsAttribute.PAD, NOTHING)
    writer.bytes(type, u64(value))
  }

  /** Puts the headers in front of what was written. */
  #message(command: number, dump: boolean): Uint8Array {
    const attributes = this.#writer.take()
    const message = new Uint8Array(HEADERS + attributes.length)
    const view = new DataView(message.buffer)
    view.setUint32(0, message.length, littleEndianMachine)
    view.setUint16(4, FAMILY_TYPE, littleEndianMachine)
    view.setUint16(6, dump ? NLM_F_MULTI : 0, littleEndianMachine)
    message[16] = command
    message[17] = GENL_VERSION
    message.set(attributes, HEADERS)
    return message
  }
}

const NOTHING = new Uint8Array(0)

function u64(value: number): Uint8Array {
  const bytes = new Uint8Array(8)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value), littleEndianMachine)
  return bytes
}
