import { createRequire } from 'node:module'
import { existsSync, readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe } from 'vitest'
import type { Addon, AddonSocket, FileContent, SocketOptions } from '../../lib/transport/addon.ts'
import { concat, MACHINE, number, writer } from '../helpers/bytes.ts'

/**
 * What the tests of the addon share. They speak to `nlctrl`, the family about
 * families, which every kernel has; it needs no privilege.
 */

/** The addon that `npm run build:native` made, or the one of a sanitizer build. */
const path: string =
  process.env.IPVS_ADDON ?? fileURLToPath(new URL('../../build/Release/ipvs.node', import.meta.url))

export const addon: Addon & { readonly constants: Readonly<Record<string, number>> } = createRequire(
  import.meta.url,
)(path) as Addon & { readonly constants: Readonly<Record<string, number>> }

/** The kernel's <linux/genetlink.h>. */
export const GETFAMILY = 3
export const FAMILY_ID = 1
export const FAMILY_NAME = 2

export const EPERM = 1
export const ENOENT = 2
export const EISDIR = 21
export const EINVAL = 22
export const EFBIG = 27
export const EMSGSIZE = 90
export const EOPNOTSUPP = 95

const little = MACHINE === 'little'

const write = writer(MACHINE)
export const attribute = write.attr

/** One request as AddonSocket takes it: its length, genlmsghdr, attributes. */
export function request(command: number, ...attributes: readonly Uint8Array[]): Uint8Array {
  const body = concat(Uint8Array.of(command, 1, 0, 0), ...attributes)
  return concat(number(4 + body.length, 4, MACHINE), body)
}

/** A request for the family of this name. */
export function getFamily(name: string): Uint8Array {
  return request(GETFAMILY, write.text(FAMILY_NAME, name))
}

/**
 * A request that fails with ENOENT. By number: for a name that it does not
 * know, the kernel runs modprobe each time.
 */
export function getNoFamily(): Uint8Array {
  return request(GETFAMILY, attribute(FAMILY_ID, Uint8Array.of(0xff, 0xff)))
}

export interface Message {
  readonly type: number
  readonly flags: number
  readonly command: number
  /** Value of the FAMILY_NAME attribute. */
  readonly name: string | undefined
}

/** The messages in a buffer. Throws where they do not fill it exactly. */
export function messages(buffer: ArrayBuffer): Message[] {
  const view = new DataView(buffer)
  const found: Message[] = []
  let at = 0
  while (at < buffer.byteLength) {
    const length = view.getUint32(at, little)
    found.push({
      type: view.getUint16(at + 4, little),
      flags: view.getUint16(at + 6, little),
      command: view.getUint8(at + 16),
      name: familyName(view, at + 20, at + length),
    })
    at += (length + 3) & ~3
  }
  if (at !== buffer.byteLength) throw new Error('a message crosses the end of its buffer')
  return found
}

function familyName(view: DataView, from: number, end: number): string | undefined {
  for (let at = from; at + 4 <= end;) {
    const length = view.getUint16(at, little)
    if (view.getUint16(at + 2, little) === FAMILY_NAME) {
      return new TextDecoder().decode(new Uint8Array(view.buffer, at + 4, length - 5))
    }
    at += (length + 3) & ~3
  }
  return undefined
}

/** Runs `use` with a socket that is open, and closes it. */
export async function withSocket<T>(
  use: (socket: AddonSocket) => T | Promise<T>,
  options: Partial<SocketOptions> = {},
): Promise<T> {
  const socket = new addon.Socket({ family: 'nlctrl', timeoutMs: 5000, ...options })
  const failure = await socket.open()
  if (failure !== undefined) throw new Error(`open: ${JSON.stringify(failure)}`)
  try {
    return await use(socket)
  } finally {
    socket.close()
  }
}

/** A whole file, read in one piece. */
export async function readFile(socket: AddonSocket, path: string): Promise<FileContent> {
  const file = new addon.File(socket, path)
  const failure = await file.open()
  if (failure !== undefined) return { failure }
  try {
    return await file.read(1 << 20)
  } finally {
    file.close()
  }
}

/** Numbers of the files that this process has open. */
export function openFiles(): string[] {
  // Without the one that reading the folder opened, which is closed by now.
  return readdirSync('/proc/self/fd').filter((fd) => existsSync(`/proc/self/fdinfo/${fd}`))
}

/** Tests that need root. Elsewhere they are skipped, and fail with IPVS_REQUIRE=root. */
export function rootTests(title: string, body: () => void): void {
  if (process.getuid?.() === 0) {
    describe(title, body)
  } else if (process.env.IPVS_REQUIRE?.includes('root') === true) {
    throw new Error(`${title}: needs root`)
  } else {
    console.warn(`SKIPPED: ${title}: needs root`)
    describe.skip(title, body)
  }
}
