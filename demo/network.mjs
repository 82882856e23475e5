// The demo's network: the same as that of the tests of NAT and of its guide, in network namespaces. All of it is inside
// them, settings like ip_forward too, so it is gone when they are.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { access } from 'node:fs/promises'
import { text } from 'node:stream/consumers'
import { cables, ROUTER_SYSCTLS } from '../test/traffic/cables.mjs'
import { BEHIND_DIRECTOR, VIRTUAL as VIRTUAL_ADDRESSES } from '../test/traffic/topologies.mjs'
import { Failure } from './failure.mjs'

const prefix = `ipvs-demo-${process.pid}`
const names = /** @type {(keyof typeof BEHIND_DIRECTOR.hosts)[]} */ (Object.keys(BEHIND_DIRECTOR.hosts))

/** Network namespaces of the hosts, by their names in the topology. */
export const netns = /** @type {Record<keyof typeof BEHIND_DIRECTOR.hosts, string>} */ (
  Object.fromEntries(names.map((name) => [name, `${prefix}-${name}`]))
)
/** That of the bridges that join them. */
const bridges = `${prefix}-bridges`

/** Only IPv4 here. @param {'client' | 'web1' | 'web2'} host */
const addressOf = (host) => BEHIND_DIRECTOR.hosts[host].interfaces.eth0.addresses[0].replace(/\/.*/, '')

export const CLIENT = addressOf('client')
/** Where the virtual service is: the one address that the client knows. */
export const VIRTUAL = VIRTUAL_ADDRESSES.ipv4
export const URL = `http://${VIRTUAL}/`
/** The real servers. */
export const SERVERS = /** @type {const} */ ([
  { name: 'A', host: 'web1', address: addressOf('web1') },
  { name: 'B', host: 'web2', address: addressOf('web2') },
])

export async function setUpNetwork() {
  const all = [bridges, ...Object.values(netns)]
  for (const name of all) await ip('netns', 'add', name)
  for (const [index, lines] of cables(BEHIND_DIRECTOR, Object.values(netns)).entries())
    await ipBatch(all[index] ?? '', ['link set lo up', ...lines])
  await sysctl(netns.router, ROUTER_SYSCTLS)

  // The director is the only way to the real servers, so it has to forward packets.
  await ipBatch(netns.director, [`address add ${VIRTUAL}/32 dev eth0`])
  await sysctl(netns.director, ['net.ipv4.ip_forward=1'])
}

/**
 * @param {string} namespace
 * @param {readonly string[]} settings such as `net.ipv4.ip_forward=1`
 */
async function sysctl(namespace, settings) {
  for (const setting of settings) {
    const [name = '', value = ''] = setting.split('=')
    const file = `/proc/sys/${name.replaceAll('.', '/')}`
    await ip('netns', 'exec', namespace, 'sh', '-c', `echo ${value} >${file}`)
  }
}

/** Takes away what is there of it. */
export async function tearDownNetwork() {
  for (const name of [bridges, ...Object.values(netns)]) {
    const there = await access(`/run/netns/${name}`).then(
      () => true,
      () => false,
    )
    if (there) await ip('netns', 'delete', name)
  }
}

/** @param {string[]} args */
async function ip(...args) {
  await run(args, '')
}

/**
 * @param {string} namespace
 * @param {string[]} lines
 */
async function ipBatch(namespace, lines) {
  await run(['-n', namespace, '-batch', '-'], lines.join('\n'))
}

/**
 * @param {string[]} args
 * @param {string} input
 */
async function run(args, input) {
  // Detached: a Ctrl-C must not stop it half-way, least of all while it cleans up.
  const child = spawn('ip', args, { stdio: ['pipe', 'ignore', 'pipe'], detached: true })
  child.stdin.on('error', () => {}) // it ended without reading; its status says why
  child.stdin.end(input)
  const [complaint, [status]] = await Promise.all([text(child.stderr), once(child, 'close')])
  if (status !== 0) throw new Failure(`ip ${args.join(' ')}: ${complaint.trim() || `status ${status}`}`)
}
