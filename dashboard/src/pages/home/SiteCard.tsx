/** What a machine has, how much of it is held by which models, and who waits for it. */

import {
  Card,
  CardBody,
  CardHeader,
  CardTitle,
  List,
  ListItem,
  Progress,
  ProgressMeasureLocation,
  Title,
} from "@patternfly/react-core";
import { Link } from "react-router";

import type { Schemas } from "../../api/client";
import { bytes, bytesOf, many } from "../../components/quantities";

type Site = Schemas["SiteCapacity"];

export function SiteCard({ site, isOnly }: { site: Site; isOnly: boolean }) {
  const { inventory, held, queue } = site;
  const name = isOnly ? "This machine" : `Machine ${site.site.slice(0, 8)}`;
  return (
    <Card>
      <CardHeader>
        <CardTitle component="h2">{name}</CardTitle>
      </CardHeader>
      <CardBody className="yard-bars">
        <Bar title="Memory" held={bytesOf(held.memory)} of={bytesOf(inventory.memory)} words={bytes} />
        <Bar
          title="Cores"
          held={held.cpu}
          of={inventory.cpu}
          words={(cores) => String(Math.round(cores * 100) / 100)}
        />
        {inventory.devices.length > 0 && (
          <div>
            <Title headingLevel="h3" size="md">
              Devices
            </Title>
            <List isPlain>
              {inventory.devices.map((device) => (
                <ListItem key={device.id} className="yard-device">
                  <span className={device.held ? "yard-dot yard-dot--held" : "yard-dot"} aria-hidden />
                  {device.name || device.id}{" "}
                  {device.holder ? (
                    <Link to={`/models/${device.holder.namespace}/${device.holder.name}`}>{device.holder.name}</Link>
                  ) : (
                    <span className="yard-quiet">{device.held ? "held" : "free"}</span>
                  )}
                </ListItem>
              ))}
            </List>
          </div>
        )}
        {(queue.length > 0 || site.others_queued > 0) && (
          <div>
            <Title headingLevel="h3" size="md">
              Queue
            </Title>
            <ol className="yard-queue">
              {queue.map((waiting) => (
                <li key={`${waiting.namespace}/${waiting.model}`}>
                  <Link to={`/models/${waiting.namespace}/${waiting.model}`}>{waiting.model}</Link> {waiting.message}
                </li>
              ))}
            </ol>
            {site.others_queued > 0 && <p className="yard-quiet">and {many(site.others_queued, "more model")}</p>}
          </div>
        )}
      </CardBody>
    </Card>
  );
}

interface BarProps {
  title: string;
  held: number;
  of: number;
  words: (amount: number) => string;
}

function Bar({ title, held, of, words }: BarProps) {
  const percent = of > 0 ? Math.min(100, (held / of) * 100) : 0;
  return (
    <Progress
      title={title}
      value={percent}
      label={`${words(held)} of ${words(of)} held`}
      measureLocation={ProgressMeasureLocation.top}
      size="sm"
      aria-label={`${title} held`}
    />
  );
}
