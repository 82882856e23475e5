// Workers that use the addon without a pause, terminated at any moment of that: busy-workers.mjs WHAT ROUNDS WORKERS. Fewer
// rounds on a slow machine.
import { createRequire } from 'node:module'
import process from 'node:process'
import { setTimeout as pause } from 'node:timers/promises'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'

if (isMainThread) {
  // This thread does not load the addon: it comes and goes with the workers, and the memory of those that ended is used again.
  const [what, rounds, workers] = process.argv.slice(2)
  const ends = new Set()
  const deadline = performance.now() + 25_000
  for (let round = 0; round < Number(rounds) && (round < 15 || performance.now() < deadline); round++) {
    const lives = Array.from({ length: Number(workers) }, () => live(what))
    for (const end of await Promise.all(lives)) ends.add(end)
  }
  console.log(JSON.stringify([...ends]))
} else {
  const addon = createRequire(import.meta.url)(/** @type {string} */ (process.env.IPVS_ADDON))
  const sockets = [1, 2, 3].map(() => new addon.Socket({ family: 'nlctrl', timeoutMs: 5000 }))
  for (const socket of sockets) await socket.open()
  const [one, two, three] = sockets
  parentPort?.postMessage('begun')
  for (;;) {
    if (workerData === 'construct') new addon.Socket({ family: 'nlctrl', timeoutMs: 5000 })
    // Written out: V8 ends a thread where a loop or a function begins, and between these calls there is neither.
    else {
      await Promise.all([
        one.readFile('/proc/self/stat', 100_000),
        two.readFile('/etc/hostname', 100_000),
        three.readFile('/etc/passwd', 100_000),
      ])
    }
  }
}

/** @param {string | undefined} what */
function live(what) {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL(import.meta.url), { workerData: what })
    worker.on('message', () => {
      pause(Math.random() * 6).then(() => worker.terminate(), reject)
    })
    worker.on('error', reject)
    worker.on('exit', resolve)
  })
}
