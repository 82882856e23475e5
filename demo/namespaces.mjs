// The stage of the real kernel: network namespaces, with processes in them.
import { Ipvs } from 'ipvs'
import { SERVERS, netns } from './network.mjs'
import { Client, startServer } from './processes.mjs'

const [A, B] = SERVERS

/**
 * Starts the client and the servers in the network, which must be there.
 *
 * @returns {Promise<import('./story.mjs').Stage>}
 */
export async function openNamespaces() {
  const [client, serverA] = await Promise.all([Client.start(), startServer(A), startServer(B)])
  const ipvs = await Ipvs.open({ netns: netns.director })
  return {
    ipvs,
    client,
    pace: 1,
    place: `To see it at work, here is a network made of network namespaces: to Linux, each is a network stack of its own,
      like another computer. Between the client and the director is a router, as on the Internet.`,
    servers: 'two web servers, one Node process each, with an address of its own.',
    link: 'veth',
    async stopA() {
      await serverA.stop()
      return "A's process has been stopped: nobody needs it any more."
    },
    close: () => ipvs.close(),
  }
}
