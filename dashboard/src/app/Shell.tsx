/** What surrounds every page: the masthead, the navigation, and whether what is shown is live. */

import {
  Alert,
  AlertActionCloseButton,
  AlertGroup,
  Avatar,
  Brand,
  Dropdown,
  DropdownItem,
  DropdownList,
  Label,
  Masthead,
  MastheadBrand,
  MastheadContent,
  MastheadLogo,
  MastheadMain,
  MastheadToggle,
  MenuToggle,
  Nav,
  NavGroup,
  NavItem,
  NavList,
  Page,
  PageSidebar,
  PageSidebarBody,
  PageToggleButton,
  SkipToContent,
  ToggleGroup,
  ToggleGroupItem,
  Toolbar,
  ToolbarContent,
  ToolbarGroup,
  ToolbarItem,
  Bullseye,
  Spinner,
} from "@patternfly/react-core";
import { BarsIcon, DesktopIcon, MoonIcon, SunIcon } from "@patternfly/react-icons";
import { Suspense, useState } from "react";
import { NavLink, Outlet, useLocation, useNavigate } from "react-router";

import { useConnection } from "../api/connection";
import { useLive } from "../api/live";
import { useMe } from "../api/queries";
import { useNotices } from "../components/notices";
import { signOut } from "./session";
import { SECTIONS } from "./sections";
import { chooseTheme, useTheme, type Theme } from "./theme";

const THEMES: { theme: Theme; icon: typeof SunIcon; words: string }[] = [
  { theme: "light", icon: SunIcon, words: "Light" },
  { theme: "dark", icon: MoonIcon, words: "Dark" },
  { theme: "system", icon: DesktopIcon, words: "As the system" },
];

export function Shell() {
  useLive();
  return (
    <Page
      masthead={<TopBar />}
      sidebar={<Sections />}
      isManagedSidebar
      mainContainerId="content"
      skipToContent={
        <SkipToContent href="#content" onClick={skip}>
          Skip to content
        </SkipToContent>
      }
    >
      <Suspense
        fallback={
          <Bullseye>
            <Spinner aria-label="Loading" />
          </Bullseye>
        }
      >
        <Outlet />
      </Suspense>
      <Notices />
    </Page>
  );
}

/** The address's fragment is the page, so the link must not change it. */
function skip(event: React.MouseEvent) {
  event.preventDefault();
  document.getElementById("content")?.focus();
}

function TopBar() {
  const theme = useTheme();
  return (
    <Masthead>
      <MastheadMain>
        <MastheadToggle>
          <PageToggleButton variant="plain" aria-label="Navigation">
            <BarsIcon />
          </PageToggleButton>
        </MastheadToggle>
        <MastheadBrand>
          <MastheadLogo component={(props) => <NavLink {...props} to="/" aria-label="Modelyard, home" />}>
            <Brand src="./mark.svg" alt="" className="yard-mark" />
            <span className="yard-name">Modelyard</span>
          </MastheadLogo>
        </MastheadBrand>
      </MastheadMain>
      <MastheadContent>
        <Toolbar isFullHeight>
          <ToolbarContent>
            <ToolbarGroup align={{ default: "alignEnd" }}>
              <ToolbarItem alignSelf="center">
                <Liveness />
              </ToolbarItem>
              <ToolbarItem alignSelf="center">
                <ToggleGroup aria-label="Colours" isCompact>
                  {THEMES.map(({ theme: one, icon: Icon, words }) => (
                    <ToggleGroupItem
                      key={one}
                      icon={<Icon />}
                      aria-label={words}
                      isSelected={theme === one}
                      onChange={() => chooseTheme(one)}
                    />
                  ))}
                </ToggleGroup>
              </ToolbarItem>
              <ToolbarItem alignSelf="center">
                <Person />
              </ToolbarItem>
            </ToolbarGroup>
          </ToolbarContent>
        </Toolbar>
      </MastheadContent>
    </Masthead>
  );
}

/** Nothing while all is live: only what is out of the ordinary needs a word. */
function Liveness() {
  const connection = useConnection();
  const lost = connection === "polling";
  return (
    <span role="status">
      {lost && (
        <Label status="warning" isCompact>
          Server lost, trying again
        </Label>
      )}
    </span>
  );
}

function Person() {
  const [isOpen, open] = useState(false);
  const navigate = useNavigate();
  const me = useMe().data;
  const leave = async () => {
    await signOut();
    navigate("/sign-in");
  };
  return (
    <Dropdown
      isOpen={isOpen}
      onOpenChange={open}
      onSelect={() => open(false)}
      popperProps={{ position: "end" }}
      toggle={(ref) => (
        <MenuToggle
          ref={ref}
          onClick={() => open(!isOpen)}
          isExpanded={isOpen}
          icon={<Avatar src={initial(me?.name ?? "")} alt="" size="sm" />}
        >
          {me?.name ?? ""}
        </MenuToggle>
      )}
    >
      <DropdownList>
        <DropdownItem key="docs" to="/docs" target="_blank">
          API documentation
        </DropdownItem>
        <DropdownItem key="leave" onClick={() => void leave()}>
          Sign out
        </DropdownItem>
      </DropdownList>
    </Dropdown>
  );
}

/** A picture of the first letter: no picture has to be fetched from anywhere. */
function initial(name: string): string {
  const letter = (name.replace(/^.*:/, "")[0] ?? "?").toUpperCase().replace(/[<>&"']/g, "?");
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" fill="#0b6b63"/><text x="16" y="22" font-family="sans-serif" font-size="17" fill="#fff" text-anchor="middle">${letter}</text></svg>`;
  return `data:image/svg+xml,${encodeURIComponent(svg)}`;
}

function Sections() {
  const { pathname } = useLocation();
  const me = useMe().data;
  return (
    <PageSidebar>
      <PageSidebarBody>
        <Nav aria-label="Sections">
          {SECTIONS.map(({ title, pages }) => {
            const shown = pages.filter((page) => !page.needs || (me && page.needs(me)));
            const items = shown.map(({ path, words, badge: Badge }) => (
              <NavItem key={path} itemId={path} isActive={path === "/" ? pathname === "/" : pathname.startsWith(path)}>
                <NavLink to={path}>
                  {words}
                  {Badge && <Badge />}
                </NavLink>
              </NavItem>
            ));
            if (items.length === 0) return null;
            return title ? (
              <NavGroup key={title} title={title}>
                {items}
              </NavGroup>
            ) : (
              <NavList key="first">{items}</NavList>
            );
          })}
        </Nav>
      </PageSidebarBody>
    </PageSidebar>
  );
}

function Notices() {
  const { notices, dismiss } = useNotices();
  return (
    <AlertGroup isToast isLiveRegion>
      {notices.map(({ id, variant, title, body }) => (
        <Alert
          key={id}
          variant={variant}
          title={title}
          timeout={variant !== "danger"}
          onTimeout={() => dismiss(id)}
          actionClose={<AlertActionCloseButton onClose={() => dismiss(id)} />}
        >
          {body}
        </Alert>
      ))}
    </AlertGroup>
  );
}
