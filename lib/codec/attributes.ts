import { Errno } from '../model/errno.ts'
import { IpvsError } from '../model/errors.ts'
import { bytesOfName, nameOfBytes } from '../model/name-bytes.ts'

/**
 * Netlink attributes (<linux/netlink.h>, struct nlattr): a `u16` length that
 * counts its own four-byte header, a `u16` type, the payload, and padding to a
 * multiple of 4. Nests are attributes whose payload is attributes.
 *
 * Numbers are in the machine's byte order; methods that end in `be` read and
 * write network order. Every class takes the order as an argument so that tests
 * can run both.
 */

/** Whether this machine has its low byte first. */
export const littleEndianMachine: boolean = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1

/** Bytes of a nlattr header, of a nlmsghdr, and of a nlmsghdr with its genlmsghdr. */
const ATTRIBUTE_HEADER = 4
const MESSAGE_HEADER = 16
const GENERIC_HEADER = 20

/** The two highest bits of a type say "nested" and "network order"; the rest is the number. */
const TYPE_MASK = 0x3fff

/**
 * Builds the attributes of one request after the other. They share large pieces of
 * memory, which are only ever written once: a small buffer for each would cost
 * more than writing to it.
 */
export class AttributeWriter {
  readonly #littleEndian: boolean
  #bytes = new Uint8Array(0)
  #view = new DataView(this.#bytes.buffer)
  /** Where the current request starts, and where its next attribute goes. */
  #start = 0
  #end = 0

  constructor(littleEndian: boolean = littleEndianMachine) {
    this.#littleEndian = littleEndian
  }

  u8(type: number, value: number): void {
    const at = this.#attribute(type, 1)
    this.#bytes[at] = value
  }

  // Each of these takes the offset first: #attribute() may replace the memory.

  u16(type: number, value: number): void {
    const at = this.#attribute(type, 2)
    this.#view.setUint16(at, value, this.#littleEndian)
  }

  u16be(type: number, value: number): void {
    const at = this.#attribute(type, 2)
    this.#view.setUint16(at, value, false)
  }

  u32(type: number, value: number): void {
    const at = this.#attribute(type, 4)
    this.#view.setUint32(at, value, this.#littleEndian)
  }

  u32be(type: number, value: number): void {
    const at = this.#attribute(type, 4)
    this.#view.setUint32(at, value, false)
  }

  /** Two numbers in one payload, as struct ip_vs_flags has them. */
  u32pair(type: number, first: number, second: number): void {
    const at = this.#attribute(type, 8)
    this.#view.setUint32(at, first, this.#littleEndian)
    this.#view.setUint32(at + 4, second, this.#littleEndian)
  }

  bytes(type: number, value: Uint8Array): void {
    const at = this.#attribute(type, value.length)
    this.#bytes.set(value, at)
  }

  /** A name with a NUL at its end. */
  string(type: number, value: string): void {
    // Names of the kernel are short and ASCII; for the others the text is measured first.
    if (!isAscii(value)) {
      this.bytes(type, bytesOfName(`${value}\0`))
      return
    }
    const at = this.#attribute(type, value.length + 1)
    for (let index = 0; index < value.length; index++) this.#bytes[at + index] = value.charCodeAt(index)
  }

  /** Room of this many zero bytes for `write` to fill, from an offset in an array. */
  room(type: number, length: number, write: (bytes: Uint8Array, at: number) => void): void {
    const at = this.#attribute(type, length)
    write(this.#bytes, at)
  }

  /** Writes what `members` writes as one attribute. */
  nest(type: number, members: () => void): void {
    // Counted from the start of the request, which may move to a larger piece of memory.
    const header = this.#attribute(type, 0) - ATTRIBUTE_HEADER - this.#start
    members()
    const length = this.#end - this.#start - header
    this.#view.setUint16(this.#start + header, length, this.#littleEndian)
  }

  /** Bytes written since the last take(). */
  get length(): number {
    return this.#end - this.#start
  }

  /** The attributes written since the last call, in memory that nothing else writes to. */
  take(): Uint8Array {
    const taken = this.#bytes.subarray(this.#start, this.#end)
    this.#start = this.#end
    return taken
  }

  /** Writes a header, leaves zeroed room for the payload and gives its offset. */
  #attribute(type: number, payload: number): number {
    const length = ATTRIBUTE_HEADER + ((payload + 3) & ~3)
    if (this.#end + length > this.#bytes.length) this.#grow(length)
    const start = this.#end
    this.#view.setUint16(start, ATTRIBUTE_HEADER + payload, this.#littleEndian)
    this.#view.setUint16(start + 2, type, this.#littleEndian)
    this.#end = start + length
    return start + ATTRIBUTE_HEADER
  }

  /** Takes a new piece of memory, and the unfinished request along. */
  #grow(needed: number): void {
    const unfinished = this.#bytes.subarray(this.#start, this.#end)
    this.#bytes = new Uint8Array(Math.max(PIECE_BYTES, 2 * (unfinished.length + needed)))
    this.#bytes.set(unfinished)
    this.#view = new DataView(this.#bytes.buffer)
    this.#start = 0
    this.#end = unfinished.length
  }
}

function isAscii(text: string): boolean {
  for (let index = 0; index < text.length; index++) if (text.charCodeAt(index) > 0x7f) return false
  return true
}

/** Room for some 400 requests to add a real server. */
const PIECE_BYTES = 64 * 1024

/**
 * Walks over attributes: `while (reader.next()) switch (reader.type) ...`. An
 * attribute that does not fit its surroundings throws IpvsError EBADMSG. Types
 * that nobody asks for are skipped, so a newer kernel may send more.
 *
 * One reader serves a whole dump: a table has hundreds of thousands of
 * attributes, and an object for each nest would be most of the garbage.
 */
export class AttributeReader {
  /** Type of the current attribute, without its flag bits. */
  type = 0
  /** Where its payload starts in the view. */
  start = 0
  /** Bytes of its payload, without padding. */
  length = 0

  readonly view: DataView
  readonly littleEndian: boolean
  #next = 0
  #end = 0

  constructor(view: DataView, littleEndian: boolean = littleEndianMachine) {
    this.view = view
    this.littleEndian = littleEndian
  }

  /** Goes to the attributes between two offsets. */
  seek(start: number, end: number): this {
    this.#next = start
    this.#end = end
    return this
  }

  /** Goes to the attributes inside the first attribute of a type; false if there is none. */
  enter(type: number): boolean {
    while (this.next()) {
      if (this.type !== type) continue
      this.seek(this.start, this.start + this.length)
      return true
    }
    return false
  }

  next(): boolean {
    const at = this.#next
    const left = this.#end - at
    if (left < ATTRIBUTE_HEADER) {
      // Fewer bytes than a header are padding; the kernel treats them so too.
      return false
    }
    const length = this.view.getUint16(at, this.littleEndian)
    if (length < ATTRIBUTE_HEADER || length > left)
      throw malformed(`an attribute of ${length} bytes where ${left} are left`)
    this.type = this.view.getUint16(at + 2, this.littleEndian) & TYPE_MASK
    this.start = at + ATTRIBUTE_HEADER
    this.length = length - ATTRIBUTE_HEADER
    this.#next = at + ((length + 3) & ~3)
    return true
  }

  /** Where the payload starts, once it is known to have this many bytes. */
  at(needed: number): number {
    if (this.length < needed)
      throw malformed(`attribute ${this.type} has ${this.length} bytes, not ${needed}`)
    return this.start
  }

  u8(): number {
    return this.view.getUint8(this.at(1))
  }

  u16(): number {
    return this.view.getUint16(this.at(2), this.littleEndian)
  }

  u16be(): number {
    return this.view.getUint16(this.at(2), false)
  }

  u32(): number {
    return this.view.getUint32(this.at(4), this.littleEndian)
  }

  /**
   * Whether exactly these attributes are next: types 1, 2, ... in this order,
   * each with a payload of the given bytes, a multiple of 4. Returns where the
   * first payload starts, or -1. Each next payload is 4 bytes after the end of
   * the one before.
   */
  sequence(count: number, payload: number): number {
    const step = ATTRIBUTE_HEADER + payload
    if (this.#end - this.#next !== count * step) return -1
    for (let type = 1, at = this.#next; type <= count; type++, at += step) {
      if (this.view.getUint16(at, this.littleEndian) !== step) return -1
      if (this.view.getUint16(at + 2, this.littleEndian) !== type) return -1
    }
    return this.#next + ATTRIBUTE_HEADER
  }

  /** A counter as a number: exact up to 2^53. Payloads may lie at any multiple of 4. */
  u64(at: number = this.at(8)): number {
    const low = this.view.getUint32(this.littleEndian ? at : at + 4, this.littleEndian)
    const high = this.view.getUint32(this.littleEndian ? at + 4 : at, this.littleEndian)
    // A sum would be a heap number even if it is small, 16 bytes for each counter.
    return high === 0 ? low : high * 0x1_0000_0000 + low
  }

  u64big(at: number = this.at(8)): bigint {
    return this.view.getBigUint64(at, this.littleEndian)
  }

  /** A name up to its NUL, or up to the end of the payload if it has none. */
  string(): string {
    let text = ''
    for (let at = this.start; at < this.start + this.length; at++) {
      const byte = this.view.getUint8(at)
      if (byte === 0) break
      if (byte > 0x7f) return this.#name()
      text += String.fromCharCode(byte)
    }
    return text
  }

  #name(): string {
    const bytes = new Uint8Array(this.view.buffer, this.view.byteOffset + this.start, this.length)
    const end = bytes.indexOf(0)
    return nameOfBytes(end < 0 ? bytes : bytes.subarray(0, end))
  }
}

/**
 * Walks over whole netlink messages (nlmsghdr, genlmsghdr, attributes), as a
 * transport hands them over.
 */
export class MessageReader {
  /** The genl command of the current message. */
  command = 0

  readonly #view: DataView
  readonly #littleEndian: boolean
  readonly #attributes: AttributeReader
  #next = 0
  #start = 0
  #end = 0

  constructor(messages: Uint8Array, littleEndian: boolean = littleEndianMachine) {
    this.#view = new DataView(messages.buffer, messages.byteOffset, messages.byteLength)
    this.#littleEndian = littleEndian
    this.#attributes = new AttributeReader(this.#view, littleEndian)
  }

  next(): boolean {
    const at = this.#next
    const left = this.#view.byteLength - at
    if (left <= 0) return false
    if (left < MESSAGE_HEADER) throw malformed(`${left} bytes where a message should start`)
    const length = this.#view.getUint32(at, this.#littleEndian)
    if (length < GENERIC_HEADER || length > left)
      throw malformed(`a message of ${length} bytes where ${left} are left`)
    this.command = this.#view.getUint8(at + MESSAGE_HEADER)
    this.#start = at + GENERIC_HEADER
    this.#end = at + length
    this.#next = at + ((length + 3) & ~3)
    return true
  }

  /** The one reader of all messages, at the attributes of the current one. */
  attributes(): AttributeReader {
    return this.#attributes.seek(this.#start, this.#end)
  }
}

/** Types of the attributes inside the attribute `nest` of a message. */
export function memberTypes(message: AttributeReader, nest: number): number[] {
  const types: number[] = []
  if (message.enter(nest)) while (message.next()) types.push(message.type)
  return types
}

/** The error for bytes from the kernel that could not be read. */
export function malformed(what: string): IpvsError {
  return new IpvsError({
    errno: Errno.EBADMSG,
    command: 'decode',
    message: `EBADMSG: a reply from the kernel could not be read: ${what}`,
  })
}
