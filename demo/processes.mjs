// The demo's helper processes: the web servers and the client. Each lives in a network namespace and talks to us over
// Node's channel between parent and child; it ends when that closes, however we went.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { Failure } from './failure.mjs'
import { URL as VIRTUAL_URL, netns } from './network.mjs'

/** @import { Answer } from './story.mjs' */

/** @type {Set<Helper>} */
const helpers = new Set()

export async function stopHelpers() {
  await Promise.all([...helpers].map((helper) => helper.stop()))
}

class Helper {
  #script
  #child
  #ended

  /**
   * @param {string} namespace
   * @param {string} script
   * @param {string[]} args
   */
  constructor(namespace, script, args) {
    this.#script = script
    const file = fileURLToPath(new URL(script, import.meta.url))
    this.#child = spawn('ip', ['netns', 'exec', namespace, process.execPath, file, ...args], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      detached: true, // a Ctrl-C is for us, and we stop our helpers
    })
    this.#child.on('error', () => {}) // it ends then
    // Not 'close': that never comes after disconnect().
    this.#ended = once(this.#child, 'exit').catch(() => {})
    helpers.add(this)
  }

  /** @param {(message: any) => void} listener */
  onMessage(listener) {
    this.#child.on('message', listener)
  }

  /** @param {(why: Error) => void} listener */
  onEnd(listener) {
    this.#ended.then(() => listener(this.#endedEarly()))
  }

  /**
   * @param {object} message
   * @param {(why: Error) => void} fail
   */
  send(message, fail) {
    this.#child.send(message, (error) => {
      if (error) fail(this.#endedEarly())
    })
  }

  /** Resolves with the first thing that it says. */
  async ready() {
    await new Promise((resolve, reject) => {
      this.#child.once('message', resolve)
      this.onEnd(reject)
    })
  }

  #endedEarly() {
    return new Failure(`${this.#script} ended early.`)
  }

  async stop() {
    helpers.delete(this)
    if (this.#child.connected) this.#child.disconnect()
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), 2000)
    await this.#ended
    clearTimeout(timer)
  }
}

/**
 * Starts the web server of one real server.
 *
 * @param {{ name: string, host: 'web1' | 'web2', address: string }} server
 */
export async function startServer({ name, host, address }) {
  const helper = new Helper(netns[host], 'http-server.mjs', [name, address])
  await helper.ready()
  return helper
}

/** The client. It knows nothing but the virtual address. */
export class Client {
  #helper
  #lastId = 0
  /** All that came, and what was lost. @type {Answer[]} */
  answers = []
  /** @type {Map<number, { begin: (server?: string) => void, end: (answer: Answer) => void, fail: (why: Error) => void }>} */
  #open = new Map()

  /** @param {Helper} helper */
  constructor(helper) {
    this.#helper = helper
    helper.onMessage((message) => {
      const request = this.#open.get(message.id)
      if (message.begun) {
        request?.begin(message.server)
        return
      }
      this.answers.push(message)
      request?.end(message)
      this.#open.delete(message.id)
    })
    helper.onEnd((why) => {
      for (const { fail } of this.#open.values()) fail(why)
    })
  }

  static async start() {
    const helper = new Helper(netns.client, 'http-client.mjs', [])
    await helper.ready()
    return new Client(helper)
  }

  /**
   * Sends a request over a new connection.
   *
   * @param {string} [path]
   * @returns {Promise<Answer>}
   */
  get(path) {
    return this.download(path).ended
  }

  /**
   * The same for an answer that takes a while: `begun` resolves with the server once it begins to answer, and with
   * nothing if it never does.
   *
   * @param {string} [path]
   */
  download(path = '') {
    const id = ++this.#lastId
    /** @type {(server?: string) => void} */
    let begin = () => {}
    /** @type {Promise<string | undefined>} */
    const begun = new Promise((resolve) => {
      begin = resolve
    })
    /** @type {Promise<Answer>} */
    const ended = new Promise((end, fail) => {
      this.#open.set(id, { begin, end, fail })
      this.#helper.send({ id, url: VIRTUAL_URL + path }, fail)
    })
    ended.then(
      () => begin(),
      () => begin(),
    )
    return { begun, ended }
  }
}
