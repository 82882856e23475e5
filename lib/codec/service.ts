import { familyOfService } from '../model/address.ts'
import { CommandAttribute, ServiceAttribute } from '../model/constants.ts'
import { protocolName, protocolNumber } from '../model/protocols.ts'
import { type DecodedService, type KernelService, serviceState } from '../model/service-settings.ts'
import type { Counter, ServiceKey } from '../model/types.ts'
import { familyName, familyNumber, formatAddress, writeAddress } from './address.ts'
import { type AttributeReader, type AttributeWriter, malformed } from './attributes.ts'
import { type CounterKind, decodeStatistics } from './stats.ts'

/** Writes IPVS_CMD_ATTR_SERVICE: the identity, and for NEW and SET the settings. */
export function encodeService(writer: AttributeWriter, key: ServiceKey, kernel?: KernelService): void {
  writer.nest(CommandAttribute.SERVICE, () => {
    const family = familyOfService(key)
    writer.u16(ServiceAttribute.AF, familyNumber(family))
    if (key.protocol === 'fwmark') {
      writer.u32(ServiceAttribute.FWMARK, key.fwmark)
    } else {
      writer.u16(ServiceAttribute.PROTOCOL, protocolNumber(key.protocol))
      writeAddress(writer, ServiceAttribute.ADDR, key.address)
      writer.u16be(ServiceAttribute.PORT, key.port)
    }
    if (kernel === undefined) return
    writer.string(ServiceAttribute.SCHED_NAME, kernel.scheduler)
    // The kernel drops the engine on a SET without it.
    if (kernel.persistenceEngine !== '') writer.string(ServiceAttribute.PE_NAME, kernel.persistenceEngine)
    writer.u32pair(ServiceAttribute.FLAGS, kernel.flags & kernel.flagsMask, kernel.flagsMask)
    writer.u32(ServiceAttribute.TIMEOUT, kernel.timeoutSeconds)
    // IPVS_SVC_ATTR_NETMASK means two things. IPv4: the mask in network order.
    // IPv6: a prefix length in the machine's order; ip_vs_add_service() answers
    // EINVAL to one outside 1 to 128.
    if (family === 'ipv6') writer.u32(ServiceAttribute.NETMASK, kernel.netmask)
    else writer.u32be(ServiceAttribute.NETMASK, kernel.netmask)
  })
}

/**
 * Reads the service of a reply to GET_SERVICE, from the reader of its top level.
 *
 * @throws {IpvsError} EBADMSG if there is none, or it has no identity.
 */
export function decodeService<N extends Counter>(
  reader: AttributeReader,
  kind: CounterKind<N>,
): DecodedService<N> {
  if (!reader.enter(CommandAttribute.SERVICE)) throw malformed('no service in it')
  let af = 0
  let protocol = 0
  let port = 0
  let fwmark = 0
  let scheduler = ''
  let flags = 0
  let timeoutSeconds = 0
  let persistenceEngine = ''
  // Their meaning depends on AF, and the order of attributes is not guaranteed.
  let addressAt = -1
  let netmaskAt = -1
  // The 32-bit statistics count only if the kernel sends no others.
  let statsAt = 0
  let statsEnd = 0
  let wide = false
  while (reader.next()) {
    switch (reader.type) {
      case ServiceAttribute.AF:
        af = reader.u16()
        break
      case ServiceAttribute.PROTOCOL:
        protocol = reader.u16()
        break
      case ServiceAttribute.ADDR:
        addressAt = reader.at(16)
        break
      case ServiceAttribute.PORT:
        port = reader.u16be()
        break
      case ServiceAttribute.FWMARK:
        fwmark = reader.u32()
        break
      case ServiceAttribute.SCHED_NAME:
        scheduler = reader.string()
        break
      case ServiceAttribute.FLAGS:
        flags = reader.u32()
        break
      case ServiceAttribute.TIMEOUT:
        timeoutSeconds = reader.u32()
        break
      case ServiceAttribute.NETMASK:
        netmaskAt = reader.at(4)
        break
      case ServiceAttribute.PE_NAME:
        persistenceEngine = reader.string()
        break
      case ServiceAttribute.STATS:
        if (wide) break
        statsAt = reader.start
        statsEnd = statsAt + reader.length
        break
      case ServiceAttribute.STATS64:
        wide = true
        statsAt = reader.start
        statsEnd = statsAt + reader.length
        break
    }
  }
  const family = familyName(af)
  let key: ServiceKey
  if (addressAt >= 0) {
    key = { protocol: protocolName(protocol), address: formatAddress(reader.view, addressAt, af), port }
  } else if (fwmark !== 0) {
    key = { protocol: 'fwmark', fwmark, family }
  } else {
    throw malformed('a service with neither an address nor a firewall mark')
  }
  // Network order for IPv4, the machine's for IPv6: see encodeService().
  const netmask =
    netmaskAt < 0 ? 0 : reader.view.getUint32(netmaskAt, family === 'ipv6' && reader.littleEndian)
  const kernel = { scheduler, flags, flagsMask: 0, timeoutSeconds, netmask, persistenceEngine }
  const read = decodeStatistics(reader.seek(statsAt, statsEnd), wide, kind)
  return { state: serviceState(key, family, kernel, read), kernel }
}
