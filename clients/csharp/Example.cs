// Sixteen agents of a policy, played for a hundred frames:
// mcs Cervello.cs Example.cs -out:Example.exe && mono Example.exe tcp://127.0.0.1:5577 cartpole
using System;
using System.Collections.Generic;
using Cervello;

static class Example
{
    static int Main(string[] arguments)
    {
        string address = arguments.Length > 0 ? arguments[0] : "tcp://127.0.0.1:5577", name = arguments.Length > 1 ? arguments[1] : "cartpole";
        var ids = new long[16];
        var rewards = new float[16];
        var observations = new float[16 * 4];
        for (int row = 0; row < 16; ++row) { ids[row] = row; rewards[row] = 1; }
        try
        {
            using (var client = new Client(address, new ClientOptions { Name = "example" }))
            {
                client.WaitReady();
                var policy = client.Policy(name);
                policy.Begin(ids).Wait(5);
                for (int frame = 0; frame < 100; ++frame)
                {
                    var pending = policy.Infer(ids, new Dictionary<string, byte[]> { { "obs", Rows.Pack(observations) } }, tick: frame);
                    // the frame's physics run here, while the server decides; a game polls and looks at pending.Done
                    var outputs = (Dictionary<string, object>)pending.Wait(5)["outputs"];
                    long[] actions = Rows.Unpack<long>(outputs["action"]);
                    for (int row = 0; row < actions.Length; ++row) observations[4 * row + 2] += actions[row] == 1 ? 0.01f : -0.01f;
                    policy.NotifyReward(ids, rewards);
                }
                policy.End(ids, inputs: new Dictionary<string, byte[]> { { "obs", Rows.Pack(observations) } }).Wait(5);
            }
        }
        catch (BridgeException error)
        {
            Console.Error.WriteLine(error.Kind + ": " + error.Message);
            return 1;
        }
        Console.WriteLine("100 frames");
        return 0;
    }
}
