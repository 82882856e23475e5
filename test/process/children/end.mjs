// Ends this process in a given way at a given stage of a socket's life: end.mjs STAGE ENDING
import process from 'node:process'
import { begin } from './nlctrl.mjs'

const [stage = '', ending] = process.argv.slice(2)
const started = begin(stage)
// A stage that opens a socket first has begun when it has come back; its work is still under way then.
if (!stage.startsWith('opening')) await started

switch (ending) {
  case 'return':
    break
  case 'exit':
    process.exit(0)
    break
  case 'exit after a tick':
    setImmediate(() => process.exit(0))
    break
  case 'throw':
    throw new Error('thrown on purpose')
  case 'throw in a callback':
    setImmediate(() => {
      throw new Error('thrown on purpose')
    })
    break
  case 'signal':
    process.kill(process.pid, 'SIGTERM')
    // It is delivered when the loop turns.
    await new Promise((resolve) => setTimeout(resolve, 5000))
    break
  default:
    throw new Error(`no ending '${ending}'`)
}
