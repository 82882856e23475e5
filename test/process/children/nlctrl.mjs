// What the child processes share: sockets to `nlctrl`, the family about families, which every kernel has. Plain
// JavaScript, since they run on every Node that the library supports. IPVS_TEST_ADDON is the path of the addon.
import { createRequire } from 'node:module'
import { endianness } from 'node:os'
import process from 'node:process'

/** @type {import('../../../lib/transport/addon.ts').Addon} */
export const addon = createRequire(import.meta.url)(/** @type {string} */ (process.env.IPVS_TEST_ADDON))

const little = endianness() === 'LE'
const GETFAMILY = 3
const GETPOLICY = 10
const FAMILY_ID = 1
const NLCTRL = 16

/** @param {Partial<import('../../../lib/transport/addon.ts').SocketOptions>} [more] */
export function newSocket(more) {
  return new addon.Socket({ family: 'nlctrl', timeoutMs: 5000, ...more })
}

/** @param {Partial<import('../../../lib/transport/addon.ts').SocketOptions>} [more] */
export async function openSocket(more) {
  const socket = newSocket(more)
  const failure = await socket.open()
  if (failure !== undefined) throw new Error(JSON.stringify(failure))
  return socket
}

/**
 * @param {import('../../../lib/transport/addon.ts').AddonSocket} socket
 * @param {string} path
 */
export async function openFile(socket, path) {
  const file = new addon.File(socket, path)
  const failure = await file.open()
  if (failure !== undefined) throw new Error(JSON.stringify(failure))
  return file
}

/**
 * So many requests for the family with an id, as AddonSocket takes them.
 *
 * @param {number} count
 */
export function requests(count, id = NLCTRL) {
  const bytes = new Uint8Array(count * 16)
  const view = new DataView(bytes.buffer)
  for (let at = 0; at < bytes.length; at += 16) {
    view.setUint32(at, 14, little)
    view.setUint8(at + 4, GETFAMILY)
    view.setUint8(at + 5, 1)
    view.setUint16(at + 8, 6, little)
    view.setUint16(at + 10, FAMILY_ID, little)
    view.setUint16(at + 12, id, little)
  }
  return bytes
}

/** Asks for all families. */
export function listFamilies() {
  const bytes = new Uint8Array(8)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, 8, little)
  view.setUint8(4, GETFAMILY)
  view.setUint8(5, 1)
  return bytes
}

/**
 * Every stage of a socket's life. Each starts something and comes back before that has ended.
 *
 * @type {Readonly<Record<string, () => unknown>>}
 */
export const STAGES = {
  loaded: () => addon,
  constructed: () => newSocket(),
  opening: () => newSocket().open(),
  'opening a family that is not there': () => newSocket({ family: 'no-such-family' }).open(),
  'opening in a scratch namespace': () => newSocket({ scratch: true }).open(),
  'opening in a namespace that is not there': () =>
    newSocket({ netns: '/run/netns/no-such-namespace' }).open(),
  'opening and closed': () => {
    const socket = newSocket()
    const opening = socket.open()
    socket.close()
    return opening
  },
  open: () => openSocket(),
  'in a batch': async () => {
    const socket = await openSocket()
    return [socket.batch(requests(5000), 5000)]
  },
  'in a batch that fails': async () => {
    const socket = await openSocket()
    return [socket.batch(requests(5000, 0xffff), 5000)]
  },
  'in a dump': async () => {
    const socket = await openSocket()
    return [socket.dump(listFamilies())]
  },
  'in a dump of dumps': async () => {
    const socket = await openSocket()
    return [socket.dumpOfDumps(listFamilies(), GETPOLICY, FAMILY_ID)]
  },
  'in a batch, and closed': async () => {
    const socket = await openSocket()
    const batch = socket.batch(requests(5000), 5000)
    socket.close()
    socket.close()
    return [batch]
  },
  'reading a file': async () => {
    const socket = await openSocket()
    return [socket.readFiles(['/proc/sys/net/ipv4/ip_forward'], 100)]
  },
  'opening a file': async () => {
    const socket = await openSocket()
    return [new addon.File(socket, '/proc/thread-self/net/dev').open()]
  },
  'reading a piece of a file': async () => {
    const socket = await openSocket()
    const file = await openFile(socket, '/proc/thread-self/net/dev')
    socket.close()
    const read = file.read(65_536)
    file.close()
    return [read]
  },
  'reading a file in a namespace': async () => {
    const socket = await openSocket({ netns: '/proc/self/ns/net' })
    const read = socket.readFiles(['/proc/sys/net/ipv4/ip_forward'], 100)
    socket.close()
    return [read]
  },
  'on many sockets at once': async () => {
    const sockets = await Promise.all(Array.from({ length: 20 }, openSocket))
    return sockets.map((socket) => socket.batch(requests(1000), 1000))
  },
  closed: async () => {
    const socket = await openSocket()
    await socket.batch(requests(10), 10)
    socket.close()
  },
}

/**
 * Begins a stage by its name.
 *
 * @param {string} stage
 */
export function begin(stage) {
  const start = STAGES[stage]
  if (start === undefined) throw new Error(`no stage '${stage}'`)
  return start()
}
