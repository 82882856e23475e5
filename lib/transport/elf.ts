import { closeSync, openSync, readSync } from 'node:fs'

/** e_machine (<elf.h>) of the processors that Node runs on, by Node's name. */
const MACHINES: Readonly<Record<string, number>> = {
  ia32: 3,
  ppc64: 21,
  s390x: 22,
  arm: 40,
  x64: 62,
  arm64: 183,
  riscv64: 243,
  loong64: 258,
}

const HEADER_BYTES = 64
const MAGIC = 0x7f454c46
/** EI_CLASS and EI_DATA, behind the magic: 64 bits, the least significant byte first. */
const CLASS_64 = 2
const LITTLE_ENDIAN = 1

/**
 * What is wrong with a shared object, where the loader would not say: of one for
 * another processor it says that there is no such file, and one that is cut off ends
 * the process with SIGBUS.
 */
export function faultOfElf(path: string, size: number, arch: string): string | undefined {
  const header = readHeader(path)
  if (header?.getUint32(0) !== MAGIC) return undefined
  const littleEndian = header.getUint8(5) === LITTLE_ENDIAN
  const machine = header.getUint16(18, littleEndian)
  if (arch in MACHINES && machine !== MACHINES[arch]) {
    const name = Object.keys(MACHINES).find((one) => MACHINES[one] === machine)
    return `it is for ${name ?? 'another processor'}, and this is ${arch}`
  }
  return size < leastSize(header, littleEndian) ? 'it is cut off' : undefined
}

/** None of a file that is shorter. */
function readHeader(path: string): DataView | undefined {
  const bytes = new Uint8Array(HEADER_BYTES)
  const file = openSync(path, 'r')
  try {
    return readSync(file, bytes, 0, HEADER_BYTES, 0) === HEADER_BYTES ? new DataView(bytes.buffer) : undefined
  } finally {
    closeSync(file)
  }
}

/** Where the section headers end: linkers write them last. */
function leastSize(header: DataView, littleEndian: boolean): number {
  if (header.getUint8(4) === CLASS_64) {
    const offset = Number(header.getBigUint64(0x28, littleEndian))
    return offset + header.getUint16(0x3a, littleEndian) * header.getUint16(0x3c, littleEndian)
  }
  return (
    header.getUint32(0x20, littleEndian) +
    header.getUint16(0x2e, littleEndian) * header.getUint16(0x30, littleEndian)
  )
}
