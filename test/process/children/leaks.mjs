// Says how many files are open before and after sockets in great number: leaks.mjs CASE
import process from 'node:process'
import { openFiles, until } from './files.mjs'
import { addon, begin, listFamilies, newSocket, openFile, openSocket, requests } from './nlctrl.mjs'

/** @type {Readonly<Record<string, () => Promise<void>>>} */
const CASES = {
  async 'open and close 1,000 times'() {
    for (let round = 0; round < 1000; round++) (await openSocket()).close()
  },
  async 'close in mid-request 1,000 times'() {
    for (let round = 0; round < 1000; round++) {
      const socket = await openSocket()
      const batch = socket.batch(requests(20), 20)
      socket.close()
      const { outcomes } = await batch
      if (outcomes.length !== 20) throw new Error('a call in flight is finished, not dropped')
    }
  },
  async 'fail to open 200 times'() {
    for (let round = 0; round < 200; round++) {
      const socket = newSocket({ netns: '/run/netns/no-such-namespace' })
      if ((await socket.open()) === undefined) throw new Error('it opened')
    }
  },
  async 'close while opening 200 times'() {
    await Promise.all(Array.from({ length: 200 }, () => begin('opening and closed')))
  },
  async 'drop 200 open sockets without closing them'() {
    for (let round = 0; round < 200; round++) await openSocket()
  },
  async 'drop 50 sockets with a request under way'() {
    for (let round = 0; round < 50; round++) void (await openSocket()).dump(listFamilies())
  },
  async 'drop 200 open files without closing them'() {
    const socket = await openSocket()
    for (let round = 0; round < 200; round++) void (await openFile(socket, '/proc/version')).read(10)
    socket.close()
  },
  async 'close 50 files of a namespace, and their sockets'() {
    const before = openFiles()
    for (let round = 0; round < 50; round++) {
      const socket = await openSocket({ netns: '/proc/self/ns/net' })
      const [open, never] = [await openFile(socket, '/proc/version'), new addon.File(socket, '/proc/version')]
      socket.close()
      open.close()
      never.close()
    }
    // Without garbage collection.
    if (openFiles() > before) throw new Error('closing keeps the namespace open')
  },
  async 'never open 1,000 sockets'() {
    for (let round = 0; round < 1000; round++) newSocket()
  },
}

;(await openSocket()).close()
const before = openFiles()
const run = CASES[process.argv[2] ?? '']
if (run === undefined) throw new Error('no such case')
await run()
await until('files are closed', () => {
  global.gc?.()
  return openFiles() <= before
})
console.log('none')
