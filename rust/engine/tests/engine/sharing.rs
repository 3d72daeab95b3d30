//! Engines of one process that share their workers. The one test here is the only one whose engines do.

use std::sync::Arc;

use clusterbus_engine::EngineConfig;

use crate::support::packets::ping;
use crate::support::{Mode, Peer, Rig, Side};

fn rig_with(io_threads: usize) -> Rig {
    let share = |config: &mut EngineConfig| config.shares_workers = true;
    Rig::with(Mode { io_threads, tls: false }, share)
}

/// A TCP peer that is a link of the rig.
fn dial(rig: &mut Rig) -> Peer {
    let (_, port) = rig.listen();
    rig.dial(port)
}

/// The numbers of the packets that came on the accepted link.
fn numbers(rig: &Rig) -> Vec<u64> {
    rig.accepted().first().map_or(Vec::new(), |link| rig.numbers(*link))
}

fn workers(rigs: [&Rig; 3]) -> [u64; 3] {
    rigs.map(|rig| rig.stat("workers"))
}

/// There are as many workers as the engine asks for that asks for most; each engine hears of its own links and counts
/// its own work; one that asks for none does without; and one that ends takes nothing from the others.
#[test]
fn engines_share_workers_and_nothing_else() {
    let (mut first, mut second, mut alone) = (rig_with(2), rig_with(4), rig_with(1));
    assert_eq!(workers([&first, &second, &alone]), [3, 3, 0]);

    let peers = [&mut first, &mut second, &mut alone].map(dial);
    for (number, rig) in (0..).zip([&mut first, &mut second, &mut alone]) {
        peers[number as usize].send(&ping(number, 0));
        rig.until("its own packet", |rig| numbers(rig) == [number]);
        assert_eq!(rig.stat("packets_received"), 1);
    }
    assert_eq!([first.stat("main_reads"), second.stat("main_reads")], [0, 0]);
    assert_eq!(alone.stat("threaded_reads"), 0);

    second.engine.resize(1).expect("threads end");
    assert_eq!(workers([&first, &second, &alone]), [1, 0, 0]);
    peers[1].send(&ping(10, 0));
    second.until("the main thread reads", |rig| numbers(rig) == [1, 10]);
    second.engine.resize(3).expect("threads");
    assert_eq!(workers([&first, &second, &alone]), [2, 2, 0]);

    // One engine ends just after a worker was held in a read of its link.
    let held = second.link();
    let owners = Arc::strong_count(&held.socket);
    held.socket.hold(Side::Recv);
    held.peer.send(&ping(77, 0));
    second.tell_edges();
    second.engine.flush();
    held.socket.wait_inside(Side::Recv);
    held.socket.release(Side::Recv);
    second.engine.shutdown();
    assert!(Arc::strong_count(&held.socket) <= owners - 3, "neither half nor link holds it");
    assert_eq!(workers([&first, &second, &alone]), [1, 0, 0]);
    drop(second);
    peers[0].send(&ping(20, 0));
    first.until("the worker goes on", |rig| numbers(rig) == [0, 20]);
}
