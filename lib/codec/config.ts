import { CommandAttribute, InfoAttribute } from '../model/constants.ts'
import type { Info, TimeoutChanges, Timeouts } from '../model/types.ts'
import type { AttributeReader, AttributeWriter } from './attributes.ts'

/** Writes the timeouts that are named; the kernel keeps the others. */
export function encodeTimeouts(writer: AttributeWriter, timeouts: TimeoutChanges): void {
  if (timeouts.tcpSeconds !== undefined) writer.u32(CommandAttribute.TIMEOUT_TCP, timeouts.tcpSeconds)
  if (timeouts.tcpFinSeconds !== undefined)
    writer.u32(CommandAttribute.TIMEOUT_TCP_FIN, timeouts.tcpFinSeconds)
  if (timeouts.udpSeconds !== undefined) writer.u32(CommandAttribute.TIMEOUT_UDP, timeouts.udpSeconds)
}

/** Reads a reply to GET_CONFIG, from the reader of its top level. */
export function decodeTimeouts(message: AttributeReader): Timeouts {
  let tcpSeconds = 0
  let tcpFinSeconds = 0
  let udpSeconds = 0
  while (message.next()) {
    switch (message.type) {
      case CommandAttribute.TIMEOUT_TCP:
        tcpSeconds = message.u32()
        break
      case CommandAttribute.TIMEOUT_TCP_FIN:
        tcpFinSeconds = message.u32()
        break
      case CommandAttribute.TIMEOUT_UDP:
        udpSeconds = message.u32()
        break
    }
  }
  return { tcpSeconds, tcpFinSeconds, udpSeconds }
}

/** Reads a reply to GET_INFO, from the reader of its top level. */
export function decodeInfo(message: AttributeReader): Info {
  let version = 0
  let connectionTableSize = 0
  while (message.next()) {
    switch (message.type) {
      case InfoAttribute.VERSION:
        version = message.u32()
        break
      case InfoAttribute.CONN_TAB_SIZE:
        connectionTableSize = message.u32()
        break
    }
  }
  // NVERSION() of <net/ip_vs.h>: a byte each.
  const parts = [version >>> 16, (version >>> 8) & 255, version & 255]
  return { version: parts.join('.'), connectionTableSize }
}
