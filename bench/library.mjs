// The library's part of the benchmark.
//
//   node --expose-gc library.mjs [--record] WORK REPEATS SERVICES,SERVERS,PLACE...
//
// A fresh process does the work in each place, one after the other, with so many services and real servers of each; where
// it only reads or edits, REPEATS times. So the first time is that of a program that has just started, and the last ones
// those of one that has been running. A place is a network namespace, or the path of what --record wrote of the work in
// one: then all that the kernel would say is known before. With --record there is one place, and the path is told after
// it: SERVICES,SERVERS,NAMESPACE,PATH.
// Prints one line of JSON, a Report. Whatever is not as it should be throws.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { createRequire } from 'node:module'
import { performance } from 'node:perf_hooks'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs, promisify } from 'node:util'
import { Ipvs } from 'ipvs'
import { counted, recorded, replayed } from './conversation.mjs'
import { rules } from './rules.mjs'

/**
 * @typedef {object} Report
 * @property {import('./works.mjs').Table[]} tables of the places
 * @property {number[]} microseconds how long the work took, each time
 * @property {number[]} longestTurnMs how long the JS thread was kept at most, each time; see Turns. Only where the
 *   kernel's answers are replayed: to look at the clock in each turn takes time itself, in the guest a lot of it
 * @property {number[]} heapBytes what is held at the end, in each place
 * @property {number[]} requests requests that changed something, in each call
 */

const {
  values: { record },
  positionals: [work = '', repeats, ...places],
} = parseArgs({ allowPositionals: true, options: { record: { type: 'boolean', default: false } } })
/** Of the place. */
const size = { services: 0, servers: 0, repeats: Number(repeats) }
/** Whether the turns are looked at. */
let watched = false

/** So many calls travel together: the JS thread has other work too, and is kept while it makes them. */
const CHUNK_CALLS = 500

/**
 * The longest turn of the event loop, without the time in which it waited for something to happen: for no longer than
 * that can a timer or a socket have waited for the JS thread. An immediate without a reference runs once in each turn
 * and does not keep the loop from waiting.
 */
class Turns {
  #longestMs = 0
  #active = performance.eventLoopUtilization().active
  #stopped = false

  constructor() {
    const turn = () => {
      const { active } = performance.eventLoopUtilization()
      this.#longestMs = Math.max(this.#longestMs, active - this.#active)
      this.#active = active
      if (!this.#stopped) setImmediate(turn).unref()
    }
    setImmediate(turn).unref()
  }

  /** Lets the turn end that this is called in. */
  async stop() {
    await nextTurn()
    await nextTurn()
    this.#stopped = true
    return this.#longestMs
  }
}

/** @type {Report} */
const report = { tables: [], microseconds: [], longestTurnMs: [], heapBytes: [], requests: [] }

/**
 * @template T
 * @param {() => Promise<T>} task
 */
async function measure(task) {
  await nextTurn()
  const turns = watched ? new Turns() : undefined
  const start = performance.now()
  const result = await task()
  report.microseconds.push((performance.now() - start) * 1000)
  if (turns) report.longestTurnMs.push(await turns.stop())
  return result
}

/** @param {Ipvs} ipvs */
async function restore(ipvs) {
  const table = rules(size.services, size.servers)
  const chunk = Math.max(1, Math.round(CHUNK_CALLS / (1 + size.servers)))
  await measure(async () => {
    for (let next = 0; next < table.length; next += chunk) {
      const calls = table
        .slice(next, next + chunk)
        .flatMap(({ service, realServers }) => [
          ipvs.addService(service),
          ...realServers.map((server) => ipvs.addRealServer(service, server)),
        ])
      await Promise.all(calls)
    }
  })
}

/** What the table is as a state, which is how restore() gets it. @returns {import('ipvs').SavedState} */
function state() {
  return {
    services: rules(size.services, size.servers).map(({ service, realServers }) => ({
      ...service,
      realServers,
    })),
  }
}

/** Another weight for one real server in each of so many services. @param {import('ipvs').SavedState} from @param {number} count */
function differing(from, count) {
  const step = Math.floor(from.services.length / count)
  return {
    ...from,
    services: from.services.map(({ realServers = [], ...service }, index) => ({
      ...service,
      realServers: realServers.map((server, at) =>
        at === 1 && index % step === 0 && index / step < count ? { ...server, weight: 5000 } : server,
      ),
    })),
  }
}

/** @param {Ipvs} ipvs */
async function restoreState(ipvs) {
  const wanted = state()
  const { steps } = await measure(() => ipvs.restore(wanted))
  assert.equal(steps.length, size.services * (1 + size.servers))
}

/** @param {Ipvs} ipvs */
async function apply(ipvs) {
  const states = [state(), differing(state(), DIFFERENCES)]
  await ipvs.restore(at(states, 0))
  for (let i = 1; i <= size.repeats; i++) {
    const wanted = at(states, i % 2)
    const before = changes()
    await measure(() => ipvs.apply(wanted))
    const between = changes()
    await ipvs.apply(wanted)
    report.requests.push(between - before, changes() - between)
  }
}

const DIFFERENCES = 10

/**
 * The life of a table, of any size: it is restored, saved, compared with another state, and read.
 *
 * @param {Ipvs} ipvs
 */
async function growth(ipvs) {
  await restoreSavePlan(ipvs)
  const table = await measure(() => ipvs.snapshot())
  assert.equal(table.length, size.services)
  for (const { realServers } of table) assert.equal(realServers.length, size.servers)
}

/**
 * What the steps, the state and the plan of a table hold. Not while the growth is measured: to collect garbage by force
 * throws compiled code away too.
 *
 * @param {Ipvs} ipvs
 */
async function stateMemory(ipvs) {
  await collectGarbage()
  const before = process.memoryUsage().heapUsed
  const held = await restoreSavePlan(ipvs)
  await collectGarbage()
  report.heapBytes.push(process.memoryUsage().heapUsed - before)
  assert.equal(held.length, 3)
}

/** @param {Ipvs} ipvs */
async function restoreSavePlan(ipvs) {
  const wanted = state()
  const { steps } = await measure(() => ipvs.restore(wanted))
  const saved = await measure(() => ipvs.save())
  const differences = Math.min(100, size.services)
  const plan = await planOf(differing(saved, differences))
  assert.equal(steps.length, size.services * (1 + size.servers))
  assert.equal(saved.services.length, size.services)
  assert.equal(plan.steps.length, differences)
  return [steps, saved, plan]

  /** What it is given is not held afterwards: it is the caller's. @param {import('ipvs').State} other */
  function planOf(other) {
    return measure(() => ipvs.plan(other))
  }
}

/** @param {Ipvs} ipvs */
async function read(ipvs) {
  for (let i = 1; i < size.repeats; i++) await measure(() => ipvs.snapshot())
  const table = await measure(() => ipvs.snapshot())

  assert.equal(table.length, size.services)
  const byAddress = new Map(table.map((entry) => [entry.service.address, entry]))
  // One by one: an error tells of one entry and not of a thousand.
  for (const { service, realServers } of rules(size.services, size.servers)) {
    const found = JSON.parse(JSON.stringify(byAddress.get(service.address) ?? null))
    assert.deepEqual(found, { service, realServers: realServers.reverse() })
  }
}

/** @param {Ipvs} ipvs */
async function edit(ipvs) {
  const table = rules(size.services, size.servers)
  /** @type {import('ipvs').RealServer[]} */
  const edited = []
  for (let i = 0; i < size.repeats; i++) {
    const { service, realServers } = at(table, i % table.length)
    edited.push(await ipvs.realServer(service, at(realServers, 0)))
  }
  await measure(() => at(edited, 0).edit({ weight: 1000 }))
  for (const [i, server] of edited.entries()) {
    const start = performance.now()
    await server.edit({ weight: 1000 + i })
    if (i > 0) report.microseconds.push((performance.now() - start) * 1000)
  }
  // Again, because to look at the turns of so short a work is itself some work.
  const turns = watched ? new Turns() : undefined
  for (const [i, server] of edited.entries()) await server.edit({ weight: 1000 + i })
  if (turns) report.longestTurnMs.push(await turns.stop())
}

/** What Node takes to go to its thread pool, do nothing there and come back, twice: so many calls an edit has. */
async function pool() {
  /** @type {{ trip: () => Promise<void> }} */
  const { trip } = createRequire(import.meta.url)('../build/bench/trip.node')
  await twice(trip)
}

/** The same with a call of Node's own that does next to nothing there. */
const poolOfNode = () => twice(() => randomByte(1))
const randomByte = promisify(randomBytes)

/** @param {() => Promise<unknown>} trip */
async function twice(trip) {
  for (let i = 0; i < size.repeats; i++) {
    const start = performance.now()
    await trip()
    await trip()
    report.microseconds.push((performance.now() - start) * 1000)
  }
}

/** @param {Ipvs} ipvs */
async function memory(ipvs) {
  // What the first read compiles and keeps for the next is not the table's.
  await ipvs.snapshot()
  await collectGarbage()
  const before = process.memoryUsage().heapUsed
  const table = await measure(() => ipvs.snapshot())
  await collectGarbage()
  report.heapBytes.push(process.memoryUsage().heapUsed - before)

  assert.equal(table.length, size.services)
  for (const { realServers } of table) assert.equal(realServers.length, size.servers)
}

async function collectGarbage() {
  assert(globalThis.gc, 'node wants --expose-gc')
  // One collection may only end what V8 had begun, which keeps what was in use then; and what a turn has left on the stack
  // or in a promise is not garbage until it is over.
  for (let held = Infinity, quiet = 0; quiet < 3;) {
    await nextTurn()
    globalThis.gc()
    const now = process.memoryUsage().heapUsed
    quiet = held - now > GARBAGE_BYTES ? 0 : quiet + 1
    held = now
  }
}

/** What a collection that frees less has not freed for us. */
const GARBAGE_BYTES = 2 ** 16

/** How many requests that change something were sent so far, where that is counted. */
let changes = () => 0

/** How the library is opened in a place, and what is to be done when it is closed. @param {string} place @param {string} [file] */
async function open(place, file) {
  const nothing = () => {}
  if (place.includes('/')) return { options: { transport: replayed(place) }, done: nothing }
  if (!record && work !== 'apply') return { options: { netns: place }, done: nothing }
  const native = await (await loadNative()).openNative({ netns: `/run/netns/${place}`, timeoutMs: 10_000 })
  assert('batch' in native)
  if (!record) {
    const counting = counted(native)
    changes = counting.changes
    return { options: { transport: counting.transport }, done: () => native.close() }
  }
  assert(file)
  const { transport, save } = recorded(native)
  return { options: { transport }, done: () => save(file) }
}

/**
 * The library's own conversation with the kernel. The package does not export it, so bench.mjs builds it.
 *
 * @returns {Promise<typeof import('../lib/transport/native.ts')>}
 */
async function loadNative() {
  process.env['IPVS_ADDON'] = fileURLToPath(new URL('../build/Release/ipvs.node', import.meta.url))
  return await import(new URL('../build/bench/native.mjs', import.meta.url).href)
}

/**
 * @template T
 * @param {readonly T[]} list
 * @param {number} index
 */
function at(list, index) {
  const found = list[index]
  assert(found !== undefined)
  return found
}

const works = { restore, restoreState, apply, growth, read, edit, pool, poolOfNode, memory, stateMemory }
const run = Object.entries(works).find(([name]) => name === work)?.[1]
assert(run, `no such work: ${work}`)
for (const words of places) {
  const [services, servers, place = '', file] = words.split(',')
  Object.assign(size, { services: Number(services), servers: Number(servers) })
  report.tables.push([size.services, size.servers])
  watched = place.includes('/')
  const { options, done } = await open(place, file)
  const ipvs = await Ipvs.open(options)
  await run(ipvs)
  await ipvs.close()
  await done()
}
process.stdout.write(`${JSON.stringify(report)}\n`)
