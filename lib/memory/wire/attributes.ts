import { littleEndianMachine } from '../../codec/attributes.ts'
import { Errno } from '../../model/errno.ts'
import { refuse } from '../machine/refusal.ts'

/**
 * Reads the attributes of a request as the kernel does (__nla_validate_parse()
 * with NL_VALIDATE_LIBERAL): of two with the same number the last counts, numbers
 * without a rule and bytes after the last attribute are skipped, and a payload
 * that is too long is cut.
 */

/** The rule of the kernel's policy (struct nla_policy) for one attribute. */
export type Rule =
  /** A number of this many bytes: a shorter one is refused. */
  | { readonly kind: 'number'; readonly bytes: number }
  /** At most this many bytes. */
  | { readonly kind: 'binary'; readonly most: number }
  /** At least this many bytes. */
  | { readonly kind: 'least'; readonly least: number }
  /** Text with a NUL, at most this many bytes without it. */
  | { readonly kind: 'text'; readonly most: number }
  | { readonly kind: 'nest' }

/** Rules by attribute number. */
export type Policy = ReadonlyMap<number, Rule>

/** The payloads of a request's attributes, by number. */
export class Attributes {
  /** Whether bytes were left that are not an attribute: the kernel says so and goes on. */
  readonly leftover: boolean
  readonly #payloads: ReadonlyMap<number, Uint8Array>

  constructor(payloads: ReadonlyMap<number, Uint8Array>, leftover = false) {
    this.#payloads = payloads
    this.leftover = leftover
  }

  has(...types: readonly number[]): boolean {
    return types.every((type) => this.#payloads.has(type))
  }

  bytes(type: number): Uint8Array | undefined {
    return this.#payloads.get(type)
  }

  u8(type: number): number {
    return this.#payloads.get(type)?.[0] ?? 0
  }

  u16(type: number, littleEndian: boolean = littleEndianMachine): number {
    return this.#view(type, 2).getUint16(0, littleEndian)
  }

  u16be(type: number): number {
    return this.u16(type, false)
  }

  u32(type: number, littleEndian: boolean = littleEndianMachine): number {
    return this.#view(type, 4).getUint32(0, littleEndian)
  }

  u32be(type: number): number {
    return this.u32(type, false)
  }

  /** The first bytes of a payload, with zeros where it is shorter (nla_memcpy()). */
  padded(type: number, length: number): Uint8Array {
    const bytes = new Uint8Array(length)
    bytes.set((this.#payloads.get(type) ?? bytes).subarray(0, length))
    return bytes
  }

  /** Text up to its NUL. */
  text(type: number): string {
    const bytes = this.#payloads.get(type) ?? new Uint8Array(0)
    const end = bytes.indexOf(0)
    return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end))
  }

  #view(type: number, length: number): DataView {
    return new DataView(this.padded(type, length).buffer)
  }
}

const HEADER = 4
/** The two highest bits of a type are flags that the kernel masks off. */
const TYPE_MASK = 0x3fff

/** The kernel's words beside the errno if an attribute breaks its rule. */
export const POLICY_TEXT = 'Attribute failed policy validation'
/** The kernel's words beside any errno if bytes were left. */
export const LEFTOVER_TEXT = 'bytes leftover after parsing attributes'

/** Parses attributes. Refuses with the errno of the first rule that is broken. */
export function parseAttributes(bytes: Uint8Array, policy: Policy): Attributes {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const payloads = new Map<number, Uint8Array>()
  let at = 0
  while (bytes.length - at >= HEADER) {
    const length = view.getUint16(at, littleEndianMachine)
    if (length < HEADER || length > bytes.length - at) break
    const type = view.getUint16(at + 2, littleEndianMachine) & TYPE_MASK
    const payload = bytes.subarray(at + HEADER, at + length)
    const rule = policy.get(type)
    if (rule !== undefined) {
      const errno = broken(rule, payload)
      if (errno !== 0) refuse(errno, POLICY_TEXT)
      payloads.set(type, payload)
    }
    at += (length + 3) & ~3
  }
  return new Attributes(payloads, at < bytes.length)
}

/** The errno for a payload that breaks its rule (validate_nla()), or 0. */
function broken(rule: Rule, payload: Uint8Array): number {
  switch (rule.kind) {
    case 'number':
      return payload.length < rule.bytes ? Errno.ERANGE : 0
    case 'binary':
      return payload.length > rule.most ? Errno.ERANGE : 0
    case 'least':
      return payload.length < rule.least ? Errno.ERANGE : 0
    case 'nest':
      return payload.length > 0 && payload.length < HEADER ? Errno.ERANGE : 0
    case 'text': {
      if (!payload.subarray(0, rule.most + 1).includes(0)) return Errno.EINVAL
      const length = payload.at(-1) === 0 ? payload.length - 1 : payload.length
      return length > rule.most ? Errno.ERANGE : 0
    }
  }
}
