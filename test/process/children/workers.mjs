// Rounds of workers that end in a given way at given stages, one after the other: workers.mjs ENDING ROUNDS WORKERS STAGE...
// Prints for each stage how its workers ended.
import process from 'node:process'
import { Worker } from 'node:worker_threads'
import { openFiles, until } from './files.mjs'
import { openSocket, requests } from './nlctrl.mjs'

const [ending = '', rounds, workers, ...stages] = process.argv.slice(2)

/**
 * One worker's life; resolves with what it ended with.
 *
 * @param {string | undefined} stage
 */
function live(stage) {
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
await live(stages[0])
const before = openFiles()
for (const stage of stages) {
  const ends = new Set()
  for (let round = 0; round < Number(rounds); round++) {
    const lives = Array.from({ length: Number(workers) }, () => live(stage))
    if ((await socket.batch(requests(100), 100)).outcomes.length !== 100) throw new Error('not 100 outcomes')
    for (const end of await Promise.all(lives)) ends.add(end)
  }
  console.log(`${stage}: ${[...ends].join(', ')}`)
}
await until('files of workers are closed', () => openFiles() <= before)
socket.close()
