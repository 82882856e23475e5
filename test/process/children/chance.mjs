// Workers that do one thing again and again, each terminated at its moment: chance.mjs LANES LIVES. LIVES is JSON, one
// [ACT, MOMENT] for each worker, the moment in milliseconds from when it begins. LANES of them live at a time. Prints how
// they ended. IPVS_TEST_LIBRARY is the URL of the library.
import process from 'node:process'
import { setTimeout as pause } from 'node:timers/promises'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { openFiles, until } from './files.mjs'

/** @typedef {[act: string, moment: number]} Life */

if (isMainThread) await main()
else await act(workerData)

// This thread does not load the addon: it comes and goes with the workers, and the memory of those that ended is used again.
async function main() {
  const [lanes, lives] = process.argv.slice(2)
  /** @type {Life[]} */
  const left = JSON.parse(lives ?? '')
  const ends = new Set()
  const lane = async (end = 0) => {
    while (left.length > end) ends.add(await live(left.pop()))
  }
  // The first worker starts threads and opens files that stay.
  await lane(left.length - 1)
  const before = openFiles()
  await Promise.all(Array.from({ length: Number(lanes) }, () => lane()))
  await until('files of workers are closed', () => openFiles() <= before)
  console.log(JSON.stringify([...ends]))
}

/**
 * Resolves with what the worker ended with.
 *
 * @param {Life | undefined} life
 */
function live([name, moment] = ['', 0]) {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL(import.meta.url), { workerData: name })
    worker.on('message', () => {
      const end = performance.now() + moment
      pause(Math.floor(moment)).then(() => {
        // A timer knows whole milliseconds only.
        while (performance.now() < end);
        return worker.terminate()
      }, reject)
    })
    worker.on('error', reject)
    worker.on('exit', resolve)
  })
}

/** @param {string} name */
async function act(name) {
  const begin = name.startsWith('Ipvs') ? await libraryAct(name) : await addonAct(name)
  parentPort?.postMessage('begun')
  for (;;) await begin()
}

/**
 * Where there is no IPVS, or no right to use it, these fail. By then a socket was made.
 *
 * @param {string} name
 * @returns {Promise<() => unknown>}
 */
async function libraryAct(name) {
  const { Ipvs } = await import(/** @type {string} */ (process.env.IPVS_TEST_LIBRARY))
  /** @param {import('../../../lib/index.ts').OpenOptions} [options] */
  const open = async (options) => {
    try {
      const ipvs = await Ipvs.open(options)
      await ipvs.services()
      await ipvs.close()
    } catch {}
  }
  switch (name) {
    case 'Ipvs.open()':
      return () => open()
    case 'Ipvs.open() in a namespace':
      return () => open({ netns: '/proc/self/ns/net' })
    case 'Ipvs.probe()':
      return () => Ipvs.probe().catch(() => undefined)
    default:
      throw new Error(`no act '${name}'`)
  }
}

/**
 * Calls are written out one after the other, where one would do: V8 ends a thread where a loop or a function begins. Only
 * between such places are there calls of the addon after the end was asked for.
 *
 * @param {string} name
 * @returns {Promise<() => unknown>}
 */
async function addonAct(name) {
  const path = /** @type {string} */ (process.env.IPVS_TEST_ADDON)
  const { addon, listFamilies, newSocket, openFile, openSocket, requests } = await import('./nlctrl.mjs')
  const options = { family: 'nlctrl', timeoutMs: 5000 }
  const GETFAMILY = 3
  const FAMILY_ID = 1
  switch (name) {
    case 'load':
      return () => {
        process.dlopen({ exports: {} }, path)
        process.dlopen({ exports: {} }, path)
      }
    case 'construct':
      return () => [
        new addon.Socket(options),
        new addon.Socket(options),
        new addon.Socket(options),
        new addon.Socket(options),
      ]
    case 'open and close':
      return async () => {
        const one = new addon.Socket(options)
        const two = new addon.Socket(options)
        const opening = [one.open(), two.open()]
        two.close()
        await Promise.all(opening)
        one.close()
      }
    case 'open a family that is not there':
      return () => newSocket({ family: 'no-such-family' }).open()
    case 'open in namespaces': {
      return () =>
        Promise.all([newSocket({ scratch: true }).open(), newSocket({ netns: '/proc/self/ns/net' }).open()])
    }
    case 'batch': {
      const one = await openSocket()
      const two = await openSocket()
      const some = requests(40)
      const failing = requests(40, 0xffff)
      return () => Promise.all([one.batch(some, 40), two.batch(failing, 40)])
    }
    case 'dump': {
      const one = await openSocket()
      const two = await openSocket()
      const list = listFamilies()
      return async () => {
        const [plain, nested] = await Promise.all([
          one.dump(list),
          two.dumpOfDumps(list, GETFAMILY, FAMILY_ID),
        ])
        one.release(plain.messages)
        two.release(nested.messages)
      }
    }
    case 'read files': {
      const two = await openSocket({ netns: '/proc/self/ns/net' })
      const three = await openSocket()
      return () =>
        // The second is long enough for an ArrayBuffer over memory of the addon.
        Promise.all([
          two.readFiles(['/proc/sys/net/ipv4/ip_forward'], 100),
          openFile(three, path).then(async (file) => {
            await file.read(2 ** 20)
            file.close()
          }),
        ])
    }
    case 'close in mid-request':
      return async () => {
        const socket = await openSocket()
        const batch = socket.batch(requests(40), 40)
        socket.close()
        await batch
      }
    case 'use many sockets at once': {
      const [one, two, three, four] = await Promise.all([
        openSocket(),
        openSocket(),
        openSocket(),
        openSocket(),
      ])
      const some = requests(10)
      const list = listFamilies()
      return () =>
        Promise.all([
          one.batch(some, 10),
          two.dump(list),
          three.readFiles(['/proc/self/stat'], 100_000),
          four.writeFile('/dev/null', 'nothing'),
        ])
    }
    default:
      throw new Error(`no act '${name}'`)
  }
}
