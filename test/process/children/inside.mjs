// Ends JavaScript while the addon waits for it, in a getter, a setter or a trap that never ends. First by terminating a
// worker, then by the time limit of a script. Prints how each ended.
import { createRequire } from 'node:module'
import process from 'node:process'
import { createContext, runInContext } from 'node:vm'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'

const path = /** @type {string} */ (process.env.IPVS_TEST_ADDON)
const OPTIONS = ['family', 'netns', 'scratch', 'timeoutMs']

/** @returns {never} */
function neverEnd() {
  parentPort?.postMessage('inside')
  for (;;);
}

/**
 * Whatever object is the first to be given a property of this name.
 *
 * @param {string} name
 */
function neverEndSetting(name) {
  Object.defineProperty(Object.prototype, name, { set: neverEnd })
}

/** @type {Readonly<Record<string, () => unknown>>} */
const PLACES = {
  'fills exports': () => {
    process.dlopen({ exports: new Proxy({}, { set: neverEnd, defineProperty: neverEnd }) }, path)
  },
  'makes the constants': () => {
    neverEndSetting('IPVS_CMD_NEW_SERVICE')
    createRequire(import.meta.url)(path)
  },
  ...Object.fromEntries(
    OPTIONS.map((option) => [
      `reads ${option}`,
      async () => {
        const { addon } = await import('./nlctrl.mjs')
        const options = { family: 'nlctrl', timeoutMs: 5000 }
        new addon.Socket(Object.defineProperty(options, option, { get: neverEnd }))
      },
    ]),
  ),
  'answers open()': async () => {
    const { newSocket } = await import('./nlctrl.mjs')
    neverEndSetting('operation')
    await newSocket({ family: 'no-such-family' }).open()
  },
  'answers batch()': async () => {
    const { openSocket, requests } = await import('./nlctrl.mjs')
    const socket = await openSocket()
    neverEndSetting('outcomes')
    await socket.batch(requests(3), 3)
  },
  'answers dump()': async () => {
    const { listFamilies, openSocket } = await import('./nlctrl.mjs')
    const socket = await openSocket()
    neverEndSetting('messages')
    await socket.dump(listFamilies())
  },
  'reads a path': async () => {
    const { openSocket } = await import('./nlctrl.mjs')
    const socket = await openSocket()
    await socket.readFiles(Object.defineProperty([path], 0, { get: neverEnd }), 2 ** 20)
  },
  'answers read()': async () => {
    const { openFile, openSocket } = await import('./nlctrl.mjs')
    const file = await openFile(await openSocket(), path)
    neverEndSetting('bytes')
    await file.read(2 ** 20)
  },
  'releases a dump': async () => {
    const { listFamilies, openSocket } = await import('./nlctrl.mjs')
    const socket = await openSocket()
    const { messages } = await socket.dump(listFamilies())
    socket.release(Object.defineProperty([...messages], messages.length, { get: neverEnd }))
  },
}

if (!isMainThread) {
  await PLACES[workerData]?.()
} else {
  for (const place of Object.keys(PLACES)) {
    const worker = new Worker(new URL(import.meta.url), { workerData: place })
    worker.on('message', () => worker.terminate())
    console.log(`${place}: ${await new Promise((resolve) => worker.on('exit', resolve))}`)
  }
  const { addon, listFamilies, openSocket } = await import('./nlctrl.mjs')
  const socket = await openSocket()
  const { messages } = await socket.dump(listFamilies())
  const context = createContext({ Socket: addon.Socket, socket, messages })
  const scripts = [
    ...OPTIONS.map(
      (option) => `new Socket({ family: 'nlctrl', timeoutMs: 5000, get ${option}() { for (;;); } })`,
    ),
    `socket.release(Object.defineProperty([...messages], ${messages.length}, { get() { for (;;); } }))`,
  ]
  for (const script of scripts) {
    try {
      runInContext(script, context, { timeout: 5 })
    } catch (error) {
      console.log(/** @type {NodeJS.ErrnoException} */ (error).code)
    }
  }
}
