import { AttributeReader, AttributeWriter } from '../../lib/codec/attributes.ts'
import { type Attribute, attributes, type Order, payload } from '../helpers/bytes.ts'

/** A reader over top-level attributes, as a decoder takes it. */
export function readerOf(bytes: Uint8Array, order: Order): AttributeReader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return new AttributeReader(view, order === 'little').seek(0, bytes.byteLength)
}

/** The bytes that an encoder writes. */
export function encoded(order: Order, encode: (writer: AttributeWriter) => void): Uint8Array {
  const writer = new AttributeWriter(order === 'little')
  encode(writer)
  return writer.take()
}

/** The members of the one nest that an encoder writes. */
export function membersOf(
  order: Order,
  nest: number,
  encode: (writer: AttributeWriter) => void,
): Attribute[] {
  const list = attributes(encoded(order, encode), order)
  const members = payload(list, nest)
  if (members === undefined || list.length !== 1) throw new Error(`not one nest ${nest}`)
  return attributes(members, order)
}

/** Attributes by their number, as bytes: their order is no promise. */
export function byType(list: readonly Attribute[]): Record<number, string> {
  const found: Record<number, string> = {}
  for (const { type, payload } of list) {
    if (type in found) throw new Error(`attribute ${type} is there twice`)
    found[type] = Buffer.from(payload).toString('hex')
  }
  return found
}
