"""Black-box checks that grade any server of the PixelWise contract; see README.md in this folder."""
