/**
 * Names of the kernel as text, and back. A name is bytes without a NUL, most
 * often ASCII; that of an interface may be any. Bytes that are not UTF-8 become
 * lone surrogates, U+DC80 for 0x80 to U+DCFF for 0xff, and read back as the same
 * bytes.
 */

const utf8 = new TextEncoder()

export function nameOfBytes(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    return Array.from(bytes, (byte) => String.fromCharCode(byte < 0x80 ? byte : 0xdc00 + byte)).join('')
  }
}

export function bytesOfName(name: string): Uint8Array {
  // Not with an expression: every scheduler of a table comes here, and to compile one takes milliseconds.
  let surrogates = false
  for (let index = 0; index < name.length; index++) surrogates ||= isEscape(name.charCodeAt(index))
  if (!surrogates) return utf8.encode(name)
  return Uint8Array.from(
    Array.from(name).flatMap((letter) =>
      // One of a pair is not alone.
      letter.length === 1 && isEscape(letter.charCodeAt(0))
        ? [letter.charCodeAt(0) - 0xdc00]
        : [...utf8.encode(letter)],
    ),
  )
}

function isEscape(code: number): boolean {
  return code >= 0xdc80 && code <= 0xdcff
}
