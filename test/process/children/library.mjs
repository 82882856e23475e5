// The public API in a process of its own: library.mjs CASE. IPVS_TEST_LIBRARY is the URL of the library.
import process from 'node:process'

const library = await import(/** @type {string} */ (process.env.IPVS_TEST_LIBRARY))
const { Ipvs, IpvsError } = library

/**
 * What an error says of itself.
 *
 * @param {any} error
 */
function told(error) {
  const { name, code, errno, command, message } = error
  return { name, code, errno, command, message, isIpvsError: error instanceof IpvsError }
}

/** @type {Readonly<Record<string, () => Promise<unknown>>>} */
const CASES = {
  async open() {
    try {
      const ipvs = await Ipvs.open()
      const info = await ipvs.info()
      await ipvs.close()
      return { info }
    } catch (error) {
      return told(error)
    }
  },
  async 'open where this is not Linux'() {
    Object.defineProperty(process, 'platform', { value: 'darwin' })
    return CASES.open?.()
  },
  async 'probe where this is not Linux'() {
    Object.defineProperty(process, 'platform', { value: 'win32' })
    return Ipvs.probe().then(undefined, told)
  },
  async probe() {
    return Ipvs.probe().then(undefined, told)
  },
  async 'a namespace that is not there'() {
    return Ipvs.open({ netns: 'no-such-namespace' }).then(undefined, told)
  },
  /** Everything but the kernel: a transport that says yes, and has no table. */
  async 'a transport of my own'() {
    /** @type {unknown[]} */
    const calls = []
    /** @type {import('../../../lib/transport/transport.ts').Transport} */
    const transport = {
      batch(requests) {
        calls.push(requests.length)
        return Promise.resolve(
          requests.map(({ command }) => (command === 3 ? { failure: { errno: 3 } } : {})),
        )
      },
      dump: () => Promise.resolve({ messages: [], interrupted: false }),
      dumpOfDumps: () => Promise.resolve({ messages: [], interrupted: false }),
      sysctls: (names) => Promise.resolve(names.map(() => undefined)),
      setSysctl: () => Promise.resolve(undefined),
      openProcNet: () => Promise.resolve({ errno: 2 }),
      openScratch: () => Promise.resolve({ errno: 1 }),
      close() {
        calls.push('close')
        return Promise.resolve()
      },
    }
    const ipvs = await Ipvs.open({ transport })
    const web = await ipvs.addService({ protocol: 'tcp', address: '192.0.2.10', port: 443, scheduler: 'wlc' })
    const servers = await Promise.all(
      [7, 8, 9].map((host) =>
        web.addRealServer({ address: `10.0.0.${host}`, method: 'masquerade', weight: host }),
      ),
    )
    const missing = await web.delete().then(undefined, told)
    const table = await ipvs.snapshot()
    await ipvs[Symbol.asyncDispose]()
    return { web, servers, missing, table, calls }
  },
}

console.log(JSON.stringify(await CASES[process.argv[2] ?? '']?.()))
