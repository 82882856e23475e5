// Ends the process while its workers are in mid-request: exit-with-workers.mjs STAGE
import process from 'node:process'
import { Worker } from 'node:worker_threads'

const [stage] = process.argv.slice(2)
const workers = Array.from(
  { length: 3 },
  () => new Worker(new URL('worker.mjs', import.meta.url), { workerData: { stage, ending: 'terminate' } }),
)
await Promise.all(workers.map((worker) => new Promise((resolve) => worker.once('message', resolve))))
process.exit(0)
