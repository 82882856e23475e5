// Rounds of workers that end in a given way at a given stage: workers.mjs STAGE ENDING ROUNDS WORKERS
import process from 'node:process'
import { Worker } from 'node:worker_threads'
import { openFiles, openSocket, requests, until } from './nlctrl.mjs'

const [stage = '', ending = '', rounds, workers] = process.argv.slice(2)

/** One worker's life; resolves with what it ended with. */
function live() {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL('worker.mjs', import.meta.url), { workerData: { stage, ending } })
    /** @type {string | undefined} */
    let thrown
    worker.on('message', () => {
      if (ending === 'terminate') worker.terminate().catch(reject)
    })
    worker.on('error', (error) => {
      thrown = error.message
    })
    worker.on('exit', (code) => {
      resolve(thrown ?? code)
    })
  })
}

// The main thread has a socket of its own all along, and uses it meanwhile.
const socket = await openSocket()
await live()
const before = openFiles()
const ends = new Set()
for (let round = 0; round < Number(rounds); round++) {
  const lives = Array.from({ length: Number(workers) }, live)
  if ((await socket.batch(requests(100), 100)).outcomes.length !== 100) throw new Error('not 100 outcomes')
  for (const end of await Promise.all(lives)) ends.add(end)
}
await until('files of workers are closed', () => openFiles() <= before)
socket.close()
console.log(JSON.stringify([...ends]))
