#!/usr/bin/env node
// The demo: two web servers behind one address, and one of them taken out of service without losing a request.
// `npm run demo` boots a guest that has ip_vs (guest) and runs in there; with --here it runs on this machine, with
// --memory on a kernel in memory.
// It is a test as well: the exit status is 0 only if everything it promises came true.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { inspect } from 'node:util'
import { Failure } from './failure.mjs'
import { setUpNetwork, tearDownNetwork } from './network.mjs'
import { bad, line, notice, say, silence } from './print.mjs'
import { stopHelpers } from './processes.mjs'

const USAGE = `usage: npm run demo [-- --here | --memory]

  --here     on this machine instead of in a guest. Needs root and a kernel with ip_vs. Works in network
             namespaces of its own, and takes them away at the end.
  --memory   on a kernel in memory: any machine, a second, and no packet.
`

/** The signals that end us, once we have cleaned up. */
const SIGNALS = /** @type {const} */ ([
  ['SIGHUP', 1],
  ['SIGINT', 2],
  ['SIGTERM', 15],
])

class Interrupted extends Error {
  /** @param {number} status */
  constructor(status) {
    super('interrupted')
    this.status = status
  }
}

/**
 * Runs the demo in the guest.
 *
 * @returns {Promise<number>} the exit status
 */
async function runInGuest() {
  say('Booting a Linux with ip_vs to run in: user mode Linux, an ordinary process. It takes some seconds.')
  const guest = fileURLToPath(new URL('../guest/guest.mjs', import.meta.url))
  const self = fileURLToPath(import.meta.url)
  const child = spawn(process.execPath, [guest, '--', process.execPath, self, '--here'], {
    stdio: 'inherit',
  })
  // A terminal sends SIGINT to the guest as well; once more does no harm. It cleans up, and we end when it has.
  for (const [name] of SIGNALS) process.on(name, () => child.kill(name))
  const [status] = await once(child, 'close')
  return status ?? 1
}

/**
 * Runs the demo on this machine.
 *
 * @returns {Promise<number>} the exit status
 */
async function runHere() {
  const began = Date.now()
  /** @type {Promise<never>} */
  const interrupted = new Promise((_, reject) => {
    for (const [name, number] of SIGNALS) {
      process.on(name, () => reject(new Interrupted(128 + number)))
    }
    // Whoever read what we print is gone.
    process.stdout.on('error', () => reject(new Interrupted(141)))
  })
  interrupted.catch(() => {})

  const missing = await whatIsMissing()
  if (missing) {
    say(`The demo cannot run on this machine itself: ${missing}`)
    say('Without --here it boots a guest that has all it needs.')
    return 1
  }
  try {
    const { openNamespaces } = await import('./namespaces.mjs')
    // Not in the race: an interrupted set-up would leave things behind.
    await setUpNetwork()
    await Promise.race([interrupted, play(openNamespaces)])
    line(`\n  All of this was checked as it happened, in ${((Date.now() - began) / 1000).toFixed(0)} s.`)
    return 0
  } catch (error) {
    if (error instanceof Interrupted) {
      line('\n\n  Interrupted.')
      silence()
      return error.status
    }
    return failed(error)
  } finally {
    await stopHelpers()
    await tearDownNetwork()
  }
}

/**
 * Runs the demo on the kernel in memory.
 *
 * @returns {Promise<number>} the exit status
 */
async function runInMemory() {
  const began = Date.now()
  notice('THIS IS THE IN-MEMORY KERNEL, NOT LINUX')
  try {
    const { openMemory } = await import('./memory.mjs')
    await play(openMemory)
    line(
      `\n  All of this was checked as it happened, in ${((Date.now() - began) / 1000).toFixed(1)} s, on the in-memory kernel.`,
    )
    line('  On a real one, with web servers and packets: npm run demo')
    return 0
  } catch (error) {
    return failed(error)
  }
}

/** @param {() => Promise<import('./story.mjs').Stage>} open */
async function play(open) {
  const { tellStory } = await import('./story.mjs')
  const stage = await open()
  try {
    await tellStory(stage)
  } finally {
    await stage.close()
  }
}

/**
 * @param {unknown} error
 * @returns {number} the exit status
 */
function failed(error) {
  bad(error instanceof Failure ? error.message : inspect(error))
  return 1
}

/**
 * What this machine lacks and what to do about it, if anything.
 *
 * @returns {Promise<string | undefined>}
 */
async function whatIsMissing() {
  if (process.platform !== 'linux') return `it takes Linux, and this is ${process.platform}.`
  if (process.getuid?.() !== 0)
    return 'only root may make network namespaces. Try sudo node demo/demo.mjs --here'
  if (spawnSync('ip', ['-V']).error) return 'there is no command ip. It comes with the package iproute2.'
  try {
    const { Ipvs } = await import('ipvs')
    const ipvs = await Ipvs.open()
    await ipvs.info()
    await ipvs.close()
    return undefined
  } catch (error) {
    // The library's own errors say what to do.
    return error instanceof Error ? error.message : String(error)
  }
}

const [arg, ...more] = process.argv.slice(2)
const run =
  more.length > 0
    ? undefined
    : { none: runInGuest, '--here': runHere, '--memory': runInMemory }[arg ?? 'none']
if (run === undefined) {
  process.stdout.write(USAGE)
  process.exitCode = arg === '--help' ? 0 : 2
} else {
  // Not exitCode: an interrupted story may still wait for something.
  process.exit(await run())
}
