/** The kernel's hash functions, and a substitute for others. */

/** hash_32() of <linux/hash.h>: the upper bits of a product with the golden ratio. */
export function hash32(value: number, bits: number): number {
  return Math.imul(value, 0x61c88647) >>> (32 - bits)
}

/** FNV-1a with a seed: a substitute for the keyed hashes of Linux 7.1, whose keys nobody knows. */
export function textHash(text: string, seed: number): number {
  let hash = 0x811c9dc5 ^ seed
  for (let index = 0; index < text.length; index++)
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193)
  return (hash ^ (hash >>> 15)) >>> 0
}

const MASK = 0xffffffffffffffffn

/** hsiphash() of four bytes on a 64-bit machine: SipHash-1-3 whose result is cut to 32 bits. */
export function hsiphash(value: number, key: bigint): number {
  let v0 = 0x736f6d6570736575n ^ key
  let v1 = 0x646f72616e646f6dn ^ key
  let v2 = 0x6c7967656e657261n ^ key
  let v3 = 0x7465646279746573n ^ key
  const round = (): void => {
    v0 = (v0 + v1) & MASK
    v1 = rotate(v1, 13n) ^ v0
    v0 = rotate(v0, 32n)
    v2 = (v2 + v3) & MASK
    v3 = rotate(v3, 16n) ^ v2
    v0 = (v0 + v3) & MASK
    v3 = rotate(v3, 21n) ^ v0
    v2 = (v2 + v1) & MASK
    v1 = rotate(v1, 17n) ^ v2
    v2 = rotate(v2, 32n)
  }
  // The only block: the value, and its length of four bytes in the highest byte.
  const block = (4n << 56n) | BigInt(value >>> 0)
  v3 ^= block
  round()
  v0 ^= block
  v2 ^= 0xffn
  round()
  round()
  round()
  return Number((v0 ^ v1 ^ v2 ^ v3) & 0xffffffffn)
}

function rotate(value: bigint, by: bigint): bigint {
  return ((value << by) | (value >> (64n - by))) & MASK
}
