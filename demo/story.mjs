// The demo's story, from an empty table to a server taken out of service. What it does with the library is in
// balance.mjs.
import { setTimeout as sleep } from 'node:timers/promises'
import { addService, readCounters, takeOut } from './balance.mjs'
import { Failure } from './failure.mjs'
import { SERVERS } from './network.mjs'
import { AnswerTape, DrainTable, answerTable, code, good, line, picture, say, title } from './print.mjs'

/** @import { Ipvs, RealServer, Service } from 'ipvs' */

const [A, B] = SERVERS

/** Time between two looks at a server that is being drained. */
const LOOK_MS = 500

/**
 * How a request ended.
 *
 * @typedef {object} Answer
 * @property {string} [server] who answered
 * @property {string} [error] why there was no answer, or not all of it
 * @property {number} startedAt as from Date.now()
 */

/**
 * Someone who knows nothing but the virtual address.
 *
 * @typedef {object} Client
 * @property {readonly Answer[]} answers all that came, and what was lost
 * @property {(path?: string) => Promise<Answer>} get sends a request over a new connection
 * @property {(path?: string) => { begun: Promise<string | undefined>, ended: Promise<Answer> }} download the same for an
 *   answer that takes a while: `begun` resolves with the server once it begins to answer, and with nothing if it never does
 */

/**
 * Where the story takes place: network namespaces (namespaces.mjs), or memory (memory.mjs).
 *
 * @typedef {object} Stage
 * @property {Ipvs} ipvs
 * @property {Client} client
 * @property {number} pace how many times faster than a clock its time runs
 * @property {string} place what it is made of
 * @property {string} servers what A and B are
 * @property {string} link what joins the client, the director and the servers
 * @property {() => Promise<string>} stopA switches A off, and tells it
 * @property {() => Promise<void>} close
 */

/**
 * Says what holds, or ends the demo.
 *
 * @param {boolean} holds
 * @param {string} promise
 * @param {string} otherwise what was seen, if it does not hold
 */
function check(holds, promise, otherwise) {
  if (!holds) throw new Failure(`Expected: ${promise}. It was: ${otherwise}`)
  good(promise)
}

/** @param {Stage} stage */
export async function tellStory(stage) {
  const { ipvs, client } = stage
  title('The Linux Virtual Server, from Node')
  say(
    `Linux can balance load inside its kernel: the module ip_vs takes the connections that arrive at one address and
     passes each of them on to one of several servers. The Node library ipvs tells it how. ${stage.place}`,
  )
  line()
  picture(stage.link)
  line()
  say(
    `The client knows only the virtual address. The director is where ip_vs works. Behind it A and B, the real servers:
     ${stage.servers}`,
  )

  title('1  One address for two servers')
  say(
    `Connections go to A and B in turn (the scheduler wrr, weighted round robin), three to A for each one to B. The
     method masquerade is NAT: the director puts a server's address in the place of the virtual one in what the client
     sends, and the virtual one in the place of the server's in what comes back.`,
  )
  code(addService)
  const web = await addService(ipvs)
  await askForty(client, web)
  await drainA(stage, web)
  await askTwenty(client, web, await stage.stopA())
}

/**
 * @param {Client} client
 * @param {Service} web
 */
async function askForty(client, web) {
  title('2  40 requests')
  say('The client fetches a page 40 times, over a new connection each time. Who answered:')
  const answers = await fetchPages(client, 40)
  const realServers = await readCounters(web, 40)
  const seen = tally(answers)
  answerTable(seen, realServers)

  check(seen.lost === 0, '40 requests were sent and 40 answered', `${seen.lost} lost: ${seen.why}`)
  check(seen.A === 30 && seen.B === 10, 'A answered 30 and B 10', `${seen.A} and ${seen.B}`)
  const a = connectionsOf(realServers, A.address)
  const b = connectionsOf(realServers, B.address)
  check(a === 30 && b === 10, 'The kernel counted the same', `${a} and ${b}`)
}

/**
 * @param {Stage} stage
 * @param {Service} web
 */
async function drainA({ client, pace }, web) {
  title('3  A is taken out of service')
  say(
    `To drain a server is to send it no new connections (weight 0), to wait until those that it has are done, and only
     then to delete it. waitFor: 'active' does not wait for what the kernel remembers of closed connections (TIME_WAIT):
     that takes two minutes, and nobody misses it.`,
  )
  code(takeOut)
  line()

  // Of four connections in a row three go to A.
  const downloads = [2, 2.5, 3, 3.5].map((seconds) => client.download(`download/${seconds}`))
  const places = await Promise.all(downloads.map(({ begun }) => begun))
  const onA = places.filter((place) => place === 'A').length
  say(
    `The client has started 4 downloads that take 2 to 3.5 seconds, ${onA} of them from A, and fetches pages all the
     while. Now A is drained:`,
  )
  line()

  const pages = keepFetching(client, pace)
  await sleep(500 / pace)
  const server = (await web.realServers()).find(({ address }) => address === A.address)
  if (!server) throw new Failure('The kernel does not list A.')
  const table = new DrainTable()
  let drainedSince = 0
  let left = NaN
  const onProgress = (/** @type {import('ipvs').DrainProgress} */ { elapsedMs, activeConnections }) => {
    drainedSince ||= Date.now()
    left = activeConnections
    table.add({ elapsedMs: elapsedMs * pace, left, seen: tally(pages.answers) })
  }
  const outcome = await takeOut(server, onProgress, LOOK_MS / pace)
  await sleep(300 / pace)
  await pages.stop()
  const files = await Promise.all(downloads.map(({ ended }) => ended))
  line()

  const { sent } = pages
  const seen = tally(pages.answers)
  check(
    seen.lost === 0 && seen.A + seen.B === sent,
    `${sent} pages asked for around the drain: ${sent} came, 0 lost`,
    `${seen.lost} lost: ${seen.why}`,
  )
  const late = pages.answers.filter(({ server, startedAt }) => server === 'A' && startedAt > drainedSince)
  check(late.length === 0, 'A got no new connection once its weight was 0', `it got ${late.length}`)
  const { lost, why } = tally(files)
  check(
    onA === 3 && lost === 0,
    'The 4 downloads arrived whole, the 3 from A too',
    `${onA} from A; ${lost} broken: ${why}`,
  )
  check(
    outcome === 'deleted' && left === 0,
    'A was deleted when its last connection had ended',
    `the drain ended as '${outcome}' with ${left} connections left`,
  )
}

/**
 * @param {Client} client
 * @param {Service} web
 * @param {string} before
 */
async function askTwenty(client, web, before) {
  title('4  B alone')
  say(
    `${before} The kernel's counters for B are set to 0 (web.zero()), and
     the client fetches the page 20 times.`,
  )
  // What the kernel has not added up yet when they are set to 0 would still come on top.
  await readCounters(web, tally(client.answers).B)
  await web.zero()
  const answers = await fetchPages(client, 20)
  const realServers = await readCounters(web, 20)
  const seen = tally(answers)
  answerTable(seen, realServers)

  check(seen.lost === 0, '20 requests were sent and 20 answered', `${seen.lost} lost: ${seen.why}`)
  check(seen.B === 20, 'B answered them all', `A answered ${seen.A}, B ${seen.B}`)
  const counted = realServers.map(({ address, stats }) => `${address} ${stats.connections}`).join(', ')
  check(counted === `${B.address} 20`, 'The kernel has only B left, and counted the same', counted)
}

/**
 * Fetches a page so many times, one after the other, and shows who answered.
 *
 * @param {Client} client
 * @param {number} count
 */
async function fetchPages(client, count) {
  line()
  const tape = new AnswerTape()
  const answers = []
  while (answers.length < count) {
    const answer = await client.get()
    answers.push(answer)
    tape.add(answer)
  }
  tape.end()
  return answers
}

/**
 * Fetches pages one after the other until it is stopped.
 *
 * @param {Client} client
 * @param {number} pace
 */
function keepFetching(client, pace) {
  let stopped = false
  const pages = {
    sent: 0,
    answers: /** @type {Answer[]} */ ([]),
    async stop() {
      stopped = true
      await running
    },
  }
  const running = (async () => {
    while (!stopped) {
      pages.sent++
      pages.answers.push(await client.get())
      await sleep(20 / pace)
    }
  })()
  running.catch(() => {}) // stop() tells
  return pages
}

/**
 * How many answers came from whom, and why others did not.
 *
 * @param {readonly Answer[]} answers
 */
function tally(answers) {
  const count = (/** @type {string} */ name) => answers.filter(({ server }) => server === name).length
  const errors = answers.flatMap(({ error }) => error ?? [])
  return { A: count('A'), B: count('B'), lost: errors.length, why: [...new Set(errors)].join(', ') }
}

/**
 * @param {readonly RealServer[]} realServers
 * @param {string} address
 */
function connectionsOf(realServers, address) {
  return realServers.find((server) => server.address === address)?.stats.connections ?? 0
}
