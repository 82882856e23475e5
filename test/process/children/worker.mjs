// A worker at a stage of a socket's life, which ends in a given way, or waits to be ended.
import process from 'node:process'
import { parentPort, workerData } from 'node:worker_threads'
import { begin } from './nlctrl.mjs'

const { stage, ending } = workerData
const started = begin(stage)
if (!stage.startsWith('opening')) await started
parentPort?.postMessage('begun')

if (ending === 'exit') process.exit(0)
if (ending === 'throw') throw new Error('thrown on purpose')
// A worker that never closes its socket, and has to be terminated.
if (ending === 'terminate') setInterval(() => undefined, 1000)
